"""What the READMEs say is true: the chat and the client run as printed, and the tables list what there is."""

import argparse
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from server.__main__ import COMMANDS
from server.commands import account, load
from server.settings import table
from tests.docs.pages import READMES, blocks, exists, page, tables, without_code
from tests.embedded.stacks import Up, wait_for

END = "<<<end of line>>>"
# What differs between the languages in code: names, addresses and words of the chat.
WORDS = re.compile(r"(?<=display_name\": \")[^\"]+|\w+(?=@example)|(?<=content\\\": \\\")[^\"]+")


def here(text: str, stack: Up) -> str:
    """Give code of a README for the stack of the tests, and for an address that is still free."""
    ports = text.replace("127.0.0.1:8080", f"127.0.0.1:{stack.port}").replace(
        "127.0.0.1:8090", f"127.0.0.1:{stack.port + 10}"
    )
    return re.sub(r"(alice|hanako)@", f"{secrets.token_hex(6)}@", ports)


def chat(name: str) -> list[str]:
    """Give the lines of the chat with curl: what stands between the start and the client."""
    return [line for block in blocks(name, "sh")[1:6] for line in block.splitlines()]


def run_lines(lines: list[str], more: str = "") -> list[str]:
    """Run lines one after the other in one shell, and give what each printed."""
    script = "\n".join(f"{line}\nstatus=$?; echo '{END}'; [ $status = 0 ] || exit $status" for line in lines)
    done = subprocess.run(["bash", "-c", script + more], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [printed.strip() for printed in done.stdout.split(END)]


@pytest.mark.parametrize("name", READMES)
def test_the_chat_with_curl_works_line_by_line(name: str, stack: Up) -> None:
    lines = [here(line, stack) for line in chat(name)]
    send = next(line for line in lines if "Idempotency-Key" in line)
    *printed, again, _rest = run_lines([*lines, send])
    said = dict(zip(lines, printed, strict=True))
    personas, question, desk_poll, answer, poll, credits = (said[line] for line in lines if line.startswith("curl"))
    assert '"id":1' in personas
    assert '"credit_balance":99' in question and '"credit_balance":99' in credits
    assert question == again, "with its key it is the same message, and costs nothing more"
    assert desk_poll.startswith("[{") and desk_poll.endswith("}]") and desk_poll[1:-1] in question
    assert poll.startswith(desk_poll[:-1]) and poll.endswith("}]") and poll[len(desk_poll) : -1] in answer


@pytest.mark.parametrize("name", READMES)
def test_the_client_prints_the_chat_and_what_comes(name: str, stack: Up, tmp_path: Path) -> None:
    (client,) = blocks(name, "python")
    assert len(client.splitlines()) == 15
    (tmp_path / "follow.py").write_text(here(client, stack))
    lines = [here(line, stack) for line in chat(name)]
    *_, names = run_lines(lines, '\necho "$TOKEN $CHAT $DESK"')
    token, chat_id, desk = names.split()
    command = blocks(name, "sh")[6].strip().replace('"$TOKEN"', token).replace('"$CHAT"', chat_id).split()
    assert command[:2] == ["python3", "follow.py"]
    with (tmp_path / "printed").open("wb") as out:
        follower = subprocess.Popen([sys.executable, *command[1:]], cwd=tmp_path, stdout=out, stderr=out)
    try:
        read = (tmp_path / "printed").read_text
        wait_for(lambda: len(read().splitlines()) == 2, "The chat so far")
        assert [line.split(": ")[0] for line in read().splitlines()] == ["user", "persona"]
        answer = next(line for line in lines if line.startswith('curl -s "$STAFF/messages" '))
        run_lines([lines[1], f"DESK={desk} CHAT={chat_id}", answer])
        wait_for(lambda: len(read().splitlines()) == 3, "The new message")
        assert follower.poll() is None
    finally:
        follower.kill()
        follower.wait()


@pytest.mark.parametrize("name", READMES)
def test_the_settings_are_all_there_with_their_defaults(name: str) -> None:
    told = next(rows for rows in tables(name) if rows[0][0] == "`DATABASE_URL`")
    for (setting, default, meaning), row in zip(table(), told, strict=True):
        assert row[:2] == [f"`{setting}`", f"`{default}`" if default else ""]
        assert row[2] == meaning if name == "README.md" else row[2].endswith("。")


@pytest.mark.parametrize("name", READMES)
def test_the_load_that_is_shown_is_understood(name: str) -> None:
    parser = argparse.ArgumentParser()
    load.add(parser)
    shown = parser.parse_args(blocks(name, "sh")[7].splitlines()[-1].split()[2:])
    assert (shown.users, shown.way) == (1_000, "socket")
    (row,) = (row for rows in tables(name) for row in rows if row[0].startswith("`load"))
    told = parser.parse_args(re.sub(r"[][]", "", row[0].strip("`")).split()[1:])
    assert told == parser.parse_args([]), "the table tells the defaults"


@pytest.mark.parametrize("name", READMES)
def test_every_command_is_there_and_no_other(name: str) -> None:
    told = next(rows for rows in tables(name) if any("`serve`" in row[0] for row in rows))
    verbs = ["create", "suspend", "activate", "password", "role", "grant"]
    words = [word.removeprefix("account ").split()[0] for row in told for word in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(word for word in words if word not in verbs) == sorted(set(COMMANDS) - {"account"})
    assert [word for word in words if word in verbs] == verbs
    parser = argparse.ArgumentParser()
    account.add(parser)
    actions = next(action for action in parser._actions if isinstance(action.choices, dict))
    assert list(actions.choices or ()) == verbs


def test_the_readmes_are_twins() -> None:
    english, japanese = (without_code(page(name)) for name in READMES)
    for mark in ("#", "-", "|"):
        assert english.count(f"\n{mark}") == japanese.count(f"\n{mark}"), mark
    for language in ("sh", "python"):
        first, second = (blocks(name, language) for name in READMES)
        assert [WORDS.sub("…", block) for block in first] == [WORDS.sub("…", block) for block in second]
    assert {*re.findall(r"`[^`]+`", english)} == {*re.findall(r"`[^`]+`", japanese)}


@pytest.mark.parametrize("name", [*READMES, "ARCHITECTURE.md", "CHANGELOG.md", "OPERATIONS.md"])
def test_every_link_leads_to_a_page(name: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page(name)):
        assert link.startswith("http") or exists(link), link
