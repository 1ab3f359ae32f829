"""`seed`: many people at once, each with a token that works and a chat."""

import asyncio
import json
import stat
from pathlib import Path

import aiohttp

from tests.commands.conftest import Run
from tests.embedded.stacks import Up
from tests.people import Client


def test_a_file_that_cannot_be_written_is_told_before_anybody_is_made(there: Run, tmp_path: Path) -> None:
    accounts = json.loads(there("audit", "--json").out)["accounts"]
    words = ("seed", "--users", "3", "--staff", "1", "--credits", "5", "--out", str(tmp_path / "no" / "where"))
    there(*words).refused(1, "no/where")
    assert json.loads(there("audit", "--json").out)["accounts"] == accounts


def test_the_lines_may_go_to_stdout(there: Run) -> None:
    made = there("seed", "--users", "1", "--staff", "1", "--credits", "5", "--out", "-")
    assert [json.loads(line)["role"] for line in made.out.splitlines()] == ["staff", "user"]
    assert not Path("-").exists()


def test_seeded_people_have_tokens_that_work_chats_and_credits(stack: Up, there: Run, tmp_path: Path) -> None:
    out = tmp_path / "people.jsonl"
    made = there("seed", "--users", "5", "--staff", "2", "--credits", "50", "--out", str(out), "--json")
    assert json.loads(made.out) == {"users": 5, "staff": 2, "out": str(out)}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["role"] for line in lines] == ["staff"] * 2 + ["user"] * 5
    desks, users = lines[:2], lines[2:]
    assert sorted(id_ for desk in desks for id_ in desk["session_ids"]) == sorted(
        id_ for user in users for id_ in user["session_ids"]
    )

    async def talk() -> None:
        async with aiohttp.ClientSession() as http:
            session = users[0]["session_ids"][0]
            sent = (await Client(http, stack.user_entry, users[0]["token"]).send(session, "こんにちは")).done(201)
            assert sent["credit_balance"] == 49
            desk = next(desk for desk in desks if session in desk["session_ids"])
            rows = (await Client(http, stack.staff_entry, desk["token"]).poll(session, 0)).done()
            assert rows == [sent["message"]]

    asyncio.run(talk())
    assert there("audit").code == 0
