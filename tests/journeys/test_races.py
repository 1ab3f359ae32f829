"""What happens between two steps of another: each test forces the order in which it would go wrong."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from server.actions import announce, sweep
from storage import audit, repair, sessions
from storage.book import Book
from storage.database import Database
from storage.records import Session
from tests.people import People
from tests.servers import Replica, Servers
from tests.sockets import SocketClient
from tests.until import until

BLOCKED = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@asynccontextmanager
async def held(servers: Servers, session_ids: Sequence[int]) -> AsyncIterator[Any]:
    """Hold some sessions' rows, as an outsider with a long transaction does."""
    outsider = await asyncpg.connect(servers.database_url)
    transaction = outsider.transaction()
    await transaction.start()
    await outsider.execute("select from sessions where id = any($1::bigint[]) for update", session_ids)
    try:
        yield outsider
    finally:
        await transaction.rollback()
        await outsider.close()


async def test_who_comes_back_amid_a_round_of_the_sweep_keeps_its_chats(
    replica: Replica, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, staff, session = await people.chat()
    other = await SocketClient.open(await people.staff(), replica)
    desk = await SocketClient.open(staff, replica)
    rounds = sweep.Sweep(replica.context)
    await rounds.tell_again()
    await desk.close()

    async def is_away() -> bool:
        return not replica.context.broker.hub.hears(announce.topic(staff.id))

    await until(is_away)
    ask = repair.owned

    async def owned(database: Database, account_ids: Sequence[int]) -> set[tuple[int, int]]:
        nonlocal desk
        found = await ask(database, account_ids)
        if staff.id not in account_ids and desk.is_closed:
            desk = await SocketClient.open(staff, replica)
        return found

    monkeypatch.setattr(repair, "owned", owned)
    await rounds.tell_again()
    assert (await desk.command("ping"))["type"] == "ok"
    assert desk.events("gone") == []
    assert (await staff.via(replica).get(f"/sessions/{session}")).status == 200
    await other.close()


async def test_a_reading_says_its_own_revision_and_not_that_of_what_came_after_it(
    replica: Replica, people: People, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, staff, session = await people.chat()
    message = (await user.via(replica).send(session, "読みましたか")).json["message"]["id"]
    phone = await SocketClient.open(user, replica)
    before = (await user.via(replica).get(f"/sessions/{session}")).json["revision"]
    get = sessions.get

    async def get_after_another_change(database: Database, session_id: int, reader_id: int) -> Session | None:
        monkeypatch.setattr(sessions, "get", get)
        await sessions.change(book, session_id, staff.id, waiting=False)
        return await get(database, session_id, reader_id)

    monkeypatch.setattr(sessions, "get", get_after_another_change)
    answer = await staff.via(replica).call("PUT", f"/sessions/{session}/read", {"message_id": message})
    assert answer.json["revision"] == before + 2
    assert (await phone.event("read"))["revision"] == before + 1, "a client that believes 2 would miss the other change"


async def test_of_two_hand_overs_each_takes_the_persona_from_whose_it_is(
    servers: Servers, two: tuple[Replica, Replica], people: People, book: Book
) -> None:
    admin, user = await people.admin(), await people.user()
    first, second, third = [await people.staff() for _ in range(3)]
    persona = await people.persona(first)
    session = await people.session(user, persona)
    desks = {person.id: await SocketClient.open(person, two[0]) for person in (first, second, third)}
    async with held(servers, [session]):
        moves = [
            asyncio.create_task(admin.via(door).patch(f"/personas/{persona}", {"staff_account_id": heir.id}))
            for door, heir in zip(two, (second, third), strict=True)
        ]

        async def both_wait() -> bool:
            return int(await book.fetchval(BLOCKED)) >= 2

        await until(both_wait)
    assert [answer.status for answer in await asyncio.gather(*moves)] == [200, 200]
    query = audit.AuditQuery(admin.id, "persona", persona, "persona.hand_over", None, None, 9)
    steps = {record.detail["was"]: record.detail["now"] for record in await audit.search(book, query)}
    loser = steps[first.id]
    assert set(steps) == {first.id, loser}
    assert (await desks[first.id].event("gone"))["session_ids"] == [session]
    assert (await desks[loser].event("gone"))["session_ids"] == [session]


async def test_rows_that_an_outsider_holds_cost_their_flights_neighbours_no_answer(
    servers: Servers, replica: Replica, people: People
) -> None:
    staff = await people.staff()
    persona = await people.persona(staff)
    chats = [(user := await people.user(), await people.session(user, persona)) for _ in range(30)]
    locked, free = chats[:12], chats[12:]
    async with held(servers, [session for _, session in locked]):
        waiting = [asyncio.create_task(user.via(replica).send(session, "待つ")) for user, session in locked]
        answers = await asyncio.gather(*(user.via(replica).send(session, "待たない") for user, session in free))
        assert [answer.status for answer in answers] == [201] * len(free)
    assert {(await answer).status for answer in waiting} <= {201, 503}


async def test_a_key_used_for_two_chats_at_once_over_two_replicas_is_told_as_used(
    two: tuple[Replica, Replica], people: People
) -> None:
    staff = await people.staff()
    persona = await people.persona(staff)
    chats = [await people.session(await people.user(), persona) for _ in two]
    for _ in range(20):  # each time, one of the two finds the key taken between its look and its insert
        key = secrets.token_hex(8)
        both = [staff.via(door).send(chat, "どちらか", key) for door, chat in zip(two, chats, strict=True)]
        assert sorted(answer.status for answer in await asyncio.gather(*both)) == [201, 422]


async def test_a_hand_over_waits_for_a_change_of_the_new_owners_role(
    servers: Servers, replica: Replica, people: People, book: Book
) -> None:
    staff, heir = await people.staff(), await people.staff()
    persona = await people.persona(staff)
    async with held(servers, []) as outsider:
        await outsider.execute("update accounts set role = 'user' where id = $1", heir.id)
        move = asyncio.create_task(staff.via(replica).patch(f"/personas/{persona}", {"staff_account_id": heir.id}))

        async def waits() -> bool:
            return int(await book.fetchval(BLOCKED)) >= 1

        await until(waits)
        await outsider.execute("commit")
        (await move).refused(422, "validation_failed", "staff_account_id")
        await outsider.execute("begin")  # for `held` to end
