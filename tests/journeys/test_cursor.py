"""The cursor rule: no poller ever skips a message that commits late, and without the session's lock one would."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from storage import messages
from storage.book import Book
from storage.messages import Position
from storage.sends import FUNCTION, SEND
from tests.people import People, timeline
from tests.servers import Servers
from tests.until import until

# A send whose content begins with `pause` stops between its id and its commit, for as long as the test holds this.
GATE = 7_420
PAUSE = f"""
create or replace function pause_for_test() returns trigger language plpgsql as $$
begin perform pg_advisory_xact_lock({GATE}); return null; end $$;
create or replace trigger pause_for_test after insert on messages for each row
  when (new.content like 'pause%') execute function pause_for_test();
"""


def unlocked() -> str:
    """Give the function as it would be without its two lock statements."""
    start = FUNCTION.index(" perform from accounts")
    end = FUNCTION.index(" for i in 1 ..")
    assert FUNCTION[start:end].count("for no key update") == 2
    return FUNCTION[:start] + FUNCTION[end:]


@pytest.fixture
async def connections(servers: Servers) -> AsyncIterator[list[Any]]:
    """Give three raw connections: the gate, the first sender, the second."""
    made = [await asyncpg.connect(servers.database_url) for _ in range(3)]
    await made[0].execute(PAUSE)
    yield made
    for connection in made:
        await connection.close()


async def _send(connection: Any, author: int, session: int, content: str) -> int:
    (row,) = await connection.fetch(SEND, [author], [session], [content], [content], [None], [None])
    assert row["outcome"] == "sent"
    return int(row["id"])


async def _is_waiting(book: Book, connection: Any, kind: str) -> bool:
    sql = "select wait_event_type = 'Lock' and wait_event = $2 from pg_stat_activity where pid = $1"
    return bool(await book.fetchval(sql, connection.get_server_pid(), kind))


async def _interleave(
    book: Book, connections: list[Any], function: str, senders: tuple[int, int], session: int, blocked: bool
) -> list[int]:
    """Let the first sender stop between id and commit while the second sends; give what a poller of the user saw."""
    gate, first, second = connections
    for connection in (first, second):
        await connection.execute(function)
    user = await book.fetchval("select user_account_id from sessions where id = $1", session)
    seen: list[int] = []

    async def poll() -> None:
        position = Position(user, session, seen[-1] if seen else 0)
        seen.extend(message.id for message in (await messages.since(book, book.polls, position)).messages)

    await gate.execute(f"select pg_advisory_lock({GATE})")
    slow = asyncio.create_task(_send(first, senders[0], session, "pause"))
    await until(lambda: _is_waiting(book, first, "advisory"))
    quick = asyncio.create_task(_send(second, senders[1], session, "quick"))
    if blocked:
        await until(lambda: _is_waiting(book, second, "transactionid"))
    else:
        await quick
    await poll()
    await gate.execute(f"select pg_advisory_unlock({GATE})")
    await asyncio.gather(slow, quick)
    await poll()
    return seen


@pytest.mark.parametrize("sides", ["user then persona", "persona then user", "user then user", "persona then persona"])
async def test_no_poller_skips_a_message_that_commits_late(
    book: Book, people: People, connections: list[Any], sides: str
) -> None:
    user, staff, session = await people.chat()
    who = {"user": user.id, "persona": staff.id}
    first, second = sides.split(" then ")
    seen = await _interleave(book, connections, FUNCTION, (who[first], who[second]), session, True)
    assert seen == [id_ for id_, _, _ in await timeline(book, session)]
    assert len(seen) == 2


async def test_without_the_sessions_lock_a_poller_would_skip_one(
    book: Book, people: People, connections: list[Any]
) -> None:
    user, staff, session = await people.chat()
    seen = await _interleave(book, connections, unlocked(), (staff.id, user.id), session, False)
    kept = [id_ for id_, _, _ in await timeline(book, session)]
    assert len(kept) == 2
    assert seen == kept[1:], "the proof of the cursor rule can fail: the late message was never seen"
