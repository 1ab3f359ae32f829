"""Bad usage is exit code 2 and a line that says what is wrong; every command explains itself."""

import json
import subprocess
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from server.__main__ import COMMANDS
from server.commands.bench import NAMES
from server.embedded.places import HOUSE
from tests.bench.__main__ import BENCHES
from tests.commands.conftest import Run
from tests.embedded.stacks import Up, concierge

BAD_USAGE = [
    "",
    "nonsense",
    "up --port eighty",
    "up --port 80",
    "up --port 65500",
    "up --replicas 0",
    "up --replicas 9",
    "up --no-such-thing",
    "up --data",
    "up --data-dir=",
    "bench nope",
    "bench --runs 0",
    "bench --seconds -1",
    "account",
    "account create --email a@example.com --name A --role user",
    "account create --email a@example.com --name A --role king --password long-enough",
    "account create --email nobody --name A --role user --password long-enough",
    "account create --email a@example.com --name A --role user --password short",
    "account create --email a@example.com --name A --role user --password long-enough --credits -1",
    "account grant a@example.com many --note x",
    "account grant a@example.com 5",
    "account role a@example.com king",
    "account suspend",
    "seed --users 1 --staff 1 --credits 1",
    "seed --users -1 --staff 1 --credits 1 --out x",
    "seed --users 1 --staff 0 --credits 1 --out x",
    "seed --users 1 --staff 1 --credits 3000000000 --out x",
    "load --seconds 0",
    "load --way pigeon",
    "load --users 0",
    "load --people no-such-file",
    "load --url http://127.0.0.1:9",
    "openapi --colour",
    "audit everything",
]


@pytest.mark.parametrize("line", BAD_USAGE)
def test_bad_usage_is_exit_code_2(line: str, there: Run, run: Run) -> None:
    words = line.split()
    refused = (there if words[:1] in (["account"], ["seed"], ["load"]) and len(words) > 1 else run)(*words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("concierge") and len(refused.err.splitlines()) == 1, "one sentence"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, run: Run) -> None:
    if name == "test":  # pytest explains itself, at length
        return
    explained = run(name, "--help")
    assert (explained.code, explained.err) == (0, "")
    assert COMMANDS[name].split(".")[0].split(";")[0].split(",")[0] in " ".join(explained.out.split())


def test_what_the_tests_do_not_understand_is_bad_usage_too() -> None:
    assert concierge("test", "--no-such-option").returncode == 2


def test_bench_knows_its_benchmarks() -> None:
    assert set(BENCHES) == set(NAMES)


def test_what_an_address_must_be_is_said_in_words(there: Run) -> None:
    refused = there(
        "account", "create", "--email", "nobody", "--name", "A", "--role", "user", "--password", "long-enough"
    )
    refused.refused(2, "--email cannot be used: it must be an email address.")


def test_the_one_command_lists_all_commands() -> None:
    listed = concierge("--help")
    assert (listed.returncode, listed.stderr) == (0, "")
    words = " ".join(listed.stdout.split())
    assert all(f"{name} {says}" in words for name, says in COMMANDS.items())


def test_openapi_is_a_valid_document_and_all_that_is_printed(run: Run) -> None:
    printed = run("openapi")
    assert (printed.code, printed.err) == (0, "")
    assert run("openapi", "--json") == printed, "it is JSON anyhow"
    document = json.loads(printed.out)
    validate(document)
    assert "/api/v1/messages/poll" in document["paths"]


def test_migrate_says_that_the_schema_is_the_newest(there: Run) -> None:
    assert there("migrate").out == "The database has the newest schema.\n"
    assert json.loads(there("migrate", "--json").out) == {"revision": "0001"}
    there("migrate", "--revision", "no-such").refused(1, "no-such")


def test_a_migration_that_postgres_refuses_is_one_sentence(there: Run, run: Run) -> None:
    there("migrate", "--revision", "base").refused(1, "The migration cannot be done: ")  # replicas use its types
    assert there("audit").code == 0, "and everything is there"


def test_where_there_is_no_stack_a_command_says_so(run: Run, tmp_path: object) -> None:
    for name in ("audit", "migrate", "load"):
        run(name, "--data-dir", f"{tmp_path}/none").refused(1, "There is no stack in")


def test_a_database_that_is_away_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    run("audit").refused(1, "PostgreSQL")
    run("migrate").refused(1, "PostgreSQL")
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    run("audit").refused(2, "DATABASE_URL")


@pytest.mark.parametrize("url", ["nonsense", "http://localhost/x", "postgresql://x@127.0.0.1:bad/secret-name"])
@pytest.mark.parametrize("command", ["audit", "migrate", "serve", "up"])
def test_a_database_url_that_is_none_names_itself_and_is_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.chdir(tmp_path)
    refused = run(command)
    refused.refused(2, "DATABASE_URL")
    assert "secret" not in refused.err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REDIS_URL", "nonsense", "must begin with redis://"),
        ("CONCIERGE_LIMITS", "maybe", "must be on or off, and it is 'maybe'"),
        ("CONCIERGE_PORT", "0", "must be a whole number, at least 1 and at most 65535, and it is '0'"),
        ("CONCIERGE_SENDS_PER_SECOND", "0", "must be a number, more than 0, and it is '0'"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_setting_that_cannot_be_used_says_what_could_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://one:5432,two:5432/none")
    monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    run(command).refused(2, f"The setting {name} cannot be used: it {words}.")
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_who_reads_no_further_gets_no_traceback(there: Run, stack: Up) -> None:
    command = f"exec {HOUSE}/concierge openapi | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_replica_names_the_setting_that_it_cannot_use(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("serve").refused(2, "DATABASE_URL", "not set")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("CONCIERGE_PORT", "eighty")
    run("serve").refused(2, "CONCIERGE_PORT", "'eighty'")


def test_a_replica_whose_port_is_taken_says_so(stack: Up) -> None:
    said = stack.stack
    settings = {"DATABASE_URL": said["database_url"], "REDIS_URL": said["redis_url"]}
    busy = concierge("serve", **settings, CONCIERGE_PORT=f"{stack.port + 20}")
    assert busy.returncode == 1
    assert busy.stderr.splitlines()[-1] == (
        f"concierge: Port {stack.port + 20} cannot be listened on: Address already in use."
    )
