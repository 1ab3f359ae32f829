"""Bells that never rang: what was written in the book without a word is heard all the same."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest

from server.actions import presence, sweep
from storage import accounts, credits, messages, personas, repair, sessions
from storage.book import Book
from storage.database import Database
from storage.errors import Unavailable
from storage.sends import Send
from tests.conftest import MakeReplica
from tests.people import People, Person
from tests.servers import Replica
from tests.sockets import SocketClient
from tests.until import until

# The promise, and what a busy test machine may add to it.
REPAIRED_SECONDS, REPAIRED_AWAY_SECONDS = 6.0, 2.0
NOWHERE = "unix:///nonexistent/redis.sock"


def silently(author: int, session: int, content: str, *, by_user: bool) -> Send:
    """Give a send that no bell follows."""
    return Send(author, session, content, content, None, None, by_user, lambda call, sent: None)


async def test_every_kind_of_lost_bell_is_repaired(replica: Replica, people: People, book: Book) -> None:
    user, staff, session = await people.chat()
    other, third = await people.staff(), await people.session(user, await people.persona(staff))
    lost = await people.persona(staff)
    lost_session = await people.session(user, lost)
    phone, desk = await SocketClient.open(user, replica), await SocketClient.open(staff, replica)
    held = asyncio.create_task(user.via(replica).poll(third, 0, Prefer="wait=20"))
    await asyncio.wait_for(desk.command("ping"), 5)

    first = await messages.send(book.sends, silently(user.id, session, "聞こえますか", by_user=True))
    await messages.send(book.sends, silently(staff.id, third, "聞こえます", by_user=False))
    await sessions.change(book, session, staff.id, read_id=first.id)
    await credits.grant(book, credits.Grant(user.id, 7, "grant", None, "gift", staff.id, "silent"))

    heard = await desk.event("message", REPAIRED_SECONDS)
    assert (heard["message"]["id"], heard["message"]["content"], heard["prev_id"]) == (first.id, "聞こえますか", 0)
    own = await phone.event("message", REPAIRED_SECONDS, idempotency_key="聞こえますか")
    assert own["message"] == heard["message"]
    revision = (await user.via(replica).get(f"/sessions/{session}")).json["revision"]

    def says_the_head() -> bool:
        heads = [event["heads"].get(str(session)) for event in phone.events("heads")]
        return {"message_id": first.id, "revision": revision} in heads

    await phone.until(says_the_head, REPAIRED_SECONDS)
    assert all({"credit_balance", "credit_entry_id"} <= set(event) for event in phone.events("heads"))
    assert not any("credit_balance" in event for event in desk.events("heads")), "staff pay nothing"
    assert (await phone.event("balance", REPAIRED_SECONDS))["credit_balance"] == 106
    await personas.hand_over(book, lost, None, other.id)
    assert (await desk.event("gone", REPAIRED_SECONDS))["session_ids"] == [lost_session]
    assert [row["content"] for row in (await asyncio.wait_for(held, REPAIRED_SECONDS)).json] == ["聞こえます"]


async def test_what_was_repaired_is_said_once(
    make_replica: MakeReplica, people: People, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "ROUND_SECONDS", 0.2)  # many rounds look back at the same message
    monkeypatch.setattr(sweep, "QUIET_SECONDS", 0.1)
    replica = await make_replica()
    user, staff, session = await people.chat()
    phone = await SocketClient.open(user, replica)
    await messages.send(book.sends, silently(staff.id, session, "一度だけ", by_user=False))
    await phone.event("message", REPAIRED_SECONDS)
    await messages.send(book.sends, silently(staff.id, session, "もう一度", by_user=False))
    await phone.until(lambda: len(phone.events("message")) > 1, REPAIRED_SECONDS)
    assert [event["message"]["content"] for event in phone.events("message")] == ["一度だけ", "もう一度"]


async def test_without_redis_a_message_reaches_the_other_replica_by_the_book(
    make_replica: MakeReplica, people: People
) -> None:
    here, there = await make_replica(redis_url=NOWHERE), await make_replica(redis_url=NOWHERE)
    user, staff, session = await people.chat()
    phone, desk = await SocketClient.open(user, here), await SocketClient.open(staff, there)
    sent = await phone.command("send", session_id=session, content="Redisがなくても")
    assert (await desk.event("message", REPAIRED_AWAY_SECONDS))["message"] == sent["message"]
    ready = await user.via(there).get("/readyz")
    assert (ready.status, ready.json["status"], ready.json["redis"]) == (200, "degraded", "away")


@pytest.mark.parametrize("redis_is", ["there", "away"])
async def test_sockets_of_a_login_that_holds_no_more_are_closed_within_five_seconds(
    make_replica: MakeReplica, people: People, book: Book, redis_is: str
) -> None:
    settings = {} if redis_is == "there" else {"redis_url": NOWHERE}
    here, there = await make_replica(**settings), await make_replica(**settings)
    leaver, suspended, expired, stays = [await people.user() for _ in range(4)]
    admin = await people.admin()
    sockets = [await SocketClient.open(person, there) for person in (leaver, suspended, expired, stays)]
    await leaver.via(here).post("/auth/logout")
    await admin.via(here).patch(f"/accounts/{suspended.id}", {"status": "suspended"})
    await book.fetch("update logins set expires_at = now() where account_id = $1", expired.id, writes=True)
    assert [await socket.closed(6) for socket in sockets[:3]] == [4100, 4101, 4103]
    assert (await sockets[3].command("ping"))["type"] == "ok"


@pytest.mark.parametrize("end", ["expires_at = now()", None], ids=["expired", "suspended"])
async def test_a_login_that_has_ended_is_not_extended_by_the_look_at_its_socket(
    replica: Replica, people: People, book: Book, end: str | None
) -> None:
    staff = await people.staff()
    socket = await SocketClient.open(staff, replica)
    age = f"update logins set last_seen_at = now() - interval '13 hours', {end or 'site = site'} where account_id = $1"
    await book.fetch(age, staff.id, writes=True)
    if end is None:
        await accounts.change(book, staff.id, None, "suspended", None)
    until_then = await book.fetchval("select expires_at from logins where account_id = $1", staff.id)
    assert await socket.closed(6) == (4103 if end else 4101)
    await replica.context.tasks.drain(5)
    assert await book.fetchval("select expires_at from logins where account_id = $1", staff.id) == until_then
    assert (await staff.via(replica).get("/auth/me")).status == (401 if end else 403)


async def test_a_login_that_was_revoked_elsewhere_opens_no_socket(two: tuple[Replica, Replica], people: People) -> None:
    user = await people.user()
    assert (await user.via(two[0]).get("/auth/me")).status == 200
    await user.via(two[1]).post("/auth/logout")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:  # though calls are let in for up to 4 s more
        await SocketClient.open(user, two[0])
    assert refused.value.status == 401


async def test_the_sweep_hashes_what_was_heard_instead_of_looking_through_it_for_each_row(book: Book) -> None:
    async def plan(connection: Any) -> str:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        try:
            kinds = "bigint, bigint[], bigint[], bigint, float8"
            await connection.execute(f"prepare fresh({kinds}) as {repair.FRESH}")
            rows = await connection.fetch("explain execute fresh(0, '{1,2}', '{3}', 2000, 1.0)")
            await connection.execute("deallocate fresh")
        finally:
            await connection.execute("reset plan_cache_mode")
        return "\n".join(row[0] for row in rows)

    assert "hashed SubPlan" in await book.run(plan)


async def test_logging_out_closes_ones_own_sockets_of_that_login_at_once(replica: Replica, people: People) -> None:
    user = await people.user()
    socket = await SocketClient.open(user, replica)
    await user.via(replica).post("/auth/logout")
    assert await socket.closed(2) == 4100


async def test_typing_is_told_to_the_other_side_and_not_too_often(two: tuple[Replica, Replica], people: People) -> None:
    user, staff, session = await people.chat()
    phone, desk = await SocketClient.open(user, two[0]), await SocketClient.open(staff, two[1])
    for _ in range(3):
        await phone.say(f'{{"type": "typing", "session_id": {session}}}')
    assert (await phone.command("typing", session_id=session))["type"] == "ok", "too early to tell, yet answered"
    typing = await desk.event("typing")
    assert (typing["session_id"], typing["sender_type"]) == (session, "user")
    await desk.command("typing", session_id=session)
    assert (await phone.event("typing"))["sender_type"] == "persona"
    assert len(desk.events("typing")) == 1


async def test_who_leaves_while_the_book_is_away_is_told_later(
    replica: Replica, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, staff, session = await people.chat()
    phone = await SocketClient.open(user, replica)
    ask = sessions.counterparts

    async def away_once(database: Database, account_id: int) -> list[tuple[int, int, int]]:
        monkeypatch.setattr(sessions, "counterparts", ask)
        raise Unavailable("restarting")

    monkeypatch.setattr(sessions, "counterparts", away_once)
    await presence.gone(replica.context, {str(staff.id)})
    assert (await phone.event("presence", session_id=session, online=False))["sender_type"] == "persona"


async def test_who_comes_is_told_to_those_who_are_there(two: tuple[Replica, Replica], people: People) -> None:
    user, staff, session = await people.chat()
    desk = await SocketClient.open(staff, two[1])

    async def is_known(replica: Replica, person: Person) -> bool:
        return bool(await replica.context.presence.online({str(person.id)}))

    await until(lambda: is_known(two[0], staff))
    phone = await SocketClient.open(user, two[0])
    came = await desk.event("presence")
    assert (came["session_id"], came["sender_type"], came["online"]) == (session, "user", True)
    assert (await staff.via(two[0]).get(f"/sessions/{session}")).json["user"]["online"] is True
    await until(lambda: is_known(two[1], user))
    second = await SocketClient.open(user, two[1])
    await second.command("ping")
    with contextlib.suppress(TimeoutError):
        await desk.until(lambda: len(desk.events("presence")) > 1, 0.3)
    assert len(desk.events("presence")) == 1
    await phone.close()
