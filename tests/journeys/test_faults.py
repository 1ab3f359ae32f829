"""Replicas, PostgreSQL and Redis die or freeze: what was acknowledged stays, what was refused is told truthfully."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest

from server.commands.audit import words
from storage import credits
from storage.book import Book
from tests.conftest import MakeProcess, MakeReplica
from tests.journeys.conftest import Via
from tests.people import Answer, Client, People, Person
from tests.servers import Servers
from tests.until import until


async def test_a_replica_killed_amid_a_thousand_sends_loses_and_doubles_nothing(
    make_process: MakeProcess, people: People, via: Via, book: Book
) -> None:
    """Clients whose replica dies try again with their keys on the other one."""
    doomed, survivor = await make_process(), await make_process()
    chats = [await people.chat(credits=1_000) for _ in range(20)]
    acknowledged: dict[str, int] = {}
    half = asyncio.Event()

    async def talk(user: Person, session: int) -> None:
        for n in range(50):
            key = f"{session}-{n}"
            for url in (doomed.url, survivor.url):
                try:
                    answer = await via(user, url).send(session, key, key)
                except aiohttp.ClientError:
                    continue
                if answer.status == 201:
                    acknowledged[key] = answer.json["message"]["id"]
                    break
            if len(acknowledged) > 400:
                half.set()

    talks = [asyncio.create_task(talk(user, session)) for user, _, session in chats]
    await half.wait()
    os.kill(doomed.pid, signal.SIGKILL)
    await asyncio.gather(*talks)
    assert len(acknowledged) == 1_000
    rows = await book.fetch(
        "select id, content from messages where session_id = any($1)", [session for _, _, session in chats]
    )
    assert {row["content"]: row["id"] for row in rows} == acknowledged
    assert len(rows) == 1_000
    ours = {user.id for user, _, _ in chats}
    books = await credits.audit(book)
    assert not [found for found in books.mismatches if found.account_id in ours], words(books)


# What a busy test machine may add to a promise.
SLACK_SECONDS = 1.0


@pytest.fixture
async def troubled(own_servers: Servers, make_replica: MakeReplica) -> AsyncIterator[tuple[Servers, Any, People]]:
    """Give a replica with servers of its own, and people there."""
    replica = await make_replica(database_url=own_servers.database_url, redis_url=own_servers.redis_url, limits="off")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield own_servers, replica, People(replica.context.book, http)


class Talk:
    """Sends and polls that go on through the trouble, with what was answered and when."""

    def __init__(self, client: Client, session: int) -> None:
        self.client = client
        self.session = session
        self.sends: dict[str, Answer] = {}
        self.polls: list[Answer] = []
        self.longest_seconds = 0.0
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        n = 0
        calls: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            n += 1
            calls.add(asyncio.create_task(self._once(f"{self.session}-{n}")))
            await asyncio.sleep(0.05)
        await asyncio.gather(*calls)

    async def _once(self, key: str) -> None:
        began = time.monotonic()
        self.sends[key] = await self.client.send(self.session, key, key)
        between = time.monotonic()
        self.polls.append(await self.client.poll(self.session, 0))
        self.longest_seconds = max(self.longest_seconds, between - began, time.monotonic() - between)

    async def end(self) -> None:
        self._stop.set()
        await self._task

    def codes(self) -> set[str]:
        answers = [*self.sends.values(), *self.polls]
        return {answer.code for answer in answers if answer.status >= 400}


async def _check_truth(talk: Talk, book: Book, user: Person) -> None:
    """Hold every answer against the book, and settle what is unknown by its key."""
    sql = "select idempotency_key from messages where session_id = $1"
    kept = {row[0] for row in await book.fetch(sql, talk.session)}
    for key, answer in talk.sends.items():
        if answer.status == 201:
            assert key in kept
        elif answer.code == "unavailable":
            assert key not in kept, "it was said to be surely not done"
        else:
            assert (answer.status, answer.code, answer.json["idempotency_key"]) == (503, "outcome_unknown", key)
            assert (await talk.client.send(talk.session, key, key)).status == 201
    assert talk.codes() <= {"unavailable", "outcome_unknown"}
    books = await credits.audit(book)
    assert not books.mismatches, words(books)


async def test_a_postgres_that_is_killed_and_comes_back_is_told_truthfully(
    troubled: tuple[Servers, Any, People],
    via: Via,
) -> None:
    servers, replica, people = troubled
    user, _, session = await people.chat(credits=10_000)
    talk = Talk(via(user, replica), session)
    await until(lambda: _some(talk, 30))
    os.kill(servers.postgres.pid, signal.SIGKILL)
    await until(lambda: _is_down(servers))
    await servers.also(servers.postgres.start())
    before = len(talk.sends)
    await until(lambda: _some(talk, before + 30), 10)
    await talk.end()
    assert talk.longest_seconds < 5 + SLACK_SECONDS
    assert (await user.via(replica).send(session, "後で")).status == 201, "it recovers without a restart"
    await _check_truth(talk, replica.context.book, user)


async def test_a_postgres_that_freezes_gets_503_within_five_seconds(
    troubled: tuple[Servers, Any, People], via: Via
) -> None:
    servers, replica, people = troubled
    user, _, session = await people.chat(credits=10_000)
    admin = (await people.admin()).via(replica)
    assert (await admin.get("/stats")).status == 200
    talk = Talk(via(user, replica), session)
    await until(lambda: _some(talk, 10))
    pids = _all_of_postgres(servers)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        frozen_at = time.monotonic()
        asked = await asyncio.gather(admin.get("/stats"), user.via(replica).poll(session, 0), admin.get("/readyz"))
        assert [answer.status for answer in asked] == [503, 503, 503]
        for refused in asked[:2]:
            refused.refused(503, "unavailable")
        assert time.monotonic() - frozen_at < 5
        await asyncio.sleep(max(0.0, 6 - (time.monotonic() - frozen_at)))  # longer than any deadline of ours
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await until(lambda: _sends(user.via(replica), session), 10)
    await talk.end()
    assert talk.longest_seconds < 5 + SLACK_SECONDS
    assert "outcome_unknown" in talk.codes()
    await _check_truth(talk, replica.context.book, user)


async def test_a_row_that_an_outsider_holds_delays_only_its_own_chat(troubled: tuple[Servers, Any, People]) -> None:
    servers, replica, people = troubled
    held, _, held_session = await people.chat()
    free, _, free_session = await people.chat(credits=1_000)
    outsider = await asyncpg.connect(servers.database_url)
    transaction = outsider.transaction()
    await transaction.start()
    await outsider.execute("select from sessions where id = $1 for update", held_session)
    counters = replica.context.book.sends.counters
    flown = counters.flights
    waiting = [asyncio.create_task(held.via(replica).send(held_session, f"{n}", f"{n}")) for n in range(3)]

    async def first_is_tried_aside() -> bool:
        return int(counters.flights - flown) > 1

    await until(first_is_tried_aside)
    began = time.monotonic()
    for n in range(20):
        assert (await free.via(replica).send(free_session, f"{n}")).status == 201
    assert time.monotonic() - began < 1.0
    await transaction.rollback()
    await outsider.close()
    answers = await asyncio.gather(*waiting)
    assert [answer.status for answer in answers] == [201, 201, 201]
    ids = [answer.json["message"]["id"] for answer in answers]
    assert ids == sorted(ids), "who waited aside keeps the order of arrival"


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
async def test_without_redis_nobody_but_the_login_limits_notices(
    troubled: tuple[Servers, Any, People], via: Via, trouble: str
) -> None:
    servers, replica, people = troubled
    user, staff, session = await people.chat()
    os.kill(servers.valkey.pid, signal.SIGKILL if trouble == "killed" else signal.SIGSTOP)
    try:
        began = time.monotonic()
        for n in range(20):
            sent = await via(user, replica).send(session, f"{n}")
            assert sent.status == 201
            found = await via(staff, replica).poll(session, sent.json["message"]["id"] - 1)
            assert [row["content"] for row in found.json] == [f"{n}"]
        assert time.monotonic() - began < 2
        guest = Client(people.http, replica.url)
        logged_in = await guest.post("/auth/login", {"email": user.email, "password": "correct horse"})
        assert logged_in.status == 200
        await until(lambda: _is_degraded(guest), 8)
    finally:
        if trouble == "frozen":
            os.kill(servers.valkey.pid, signal.SIGCONT)
        else:
            await servers.also(servers.valkey.start())
    await until(lambda: _is_ready(guest), 10)


async def _some(talk: Talk, count: int) -> bool:
    return len(talk.sends) >= count


async def _is_down(servers: Servers) -> bool:
    return servers.postgres.pid == 0


async def _sends(client: Client, session: int) -> bool:
    return (await client.send(session, "もどりましたか")).status == 201


async def _is_degraded(client: Client) -> bool:
    answer = await client.get("/readyz")
    return (answer.status, answer.json["status"]) == (200, "degraded")


async def _is_ready(client: Client) -> bool:
    return bool((await client.get("/readyz")).json["status"] == "ready")


def _all_of_postgres(servers: Servers) -> list[int]:
    """Give the postmaster and everything it started."""
    postmaster = servers.postgres.pid
    children = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == postmaster:
                children.append(int(entry))
    return [postmaster, *children]
