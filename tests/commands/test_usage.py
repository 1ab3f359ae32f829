"""Bad usage is exit code 2 and a line that says what is wrong; every command explains itself."""

import json

import pytest
from openapi_spec_validator import validate

from server.__main__ import COMMANDS
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
    assert json.loads(there("migrate", "--json").out) == {"revision": "head"}
    there("migrate", "--revision", "no-such").refused(1, "no-such")


def test_where_there_is_no_stack_a_command_says_so(run: Run, tmp_path: object) -> None:
    for name in ("audit", "migrate", "load"):
        run(name, "--data-dir", f"{tmp_path}/none").refused(1, "There is no stack in")


def test_a_database_that_is_away_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    run("audit").refused(1, "PostgreSQL")
    run("migrate").refused(1, "PostgreSQL")
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    run("audit").refused(2, "DATABASE_URL")


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
