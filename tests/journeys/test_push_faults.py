"""Pushes while Redis dies, freezes or is cut off, while readers do not read, and while a replica goes away."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from server.settings import Settings
from storage.book import Book
from tests.conftest import MakeProcess, MakeReplica
from tests.follower import Follower
from tests.people import People, Person, timeline
from tests.servers import Replica, Servers
from tests.sockets import SocketClient, raw_handshake
from tests.until import until

# The promises, and what a busy test machine may add to them.
AWAY_SECONDS, LOST_SECONDS, SLACK_SECONDS = 2.0, 5.0, 1.0


@pytest.fixture
async def own_two(own_servers: Servers, people: People) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas on servers that the test may ill-treat; people are made there, too."""
    people.book = Book(own_servers.database_url, pool_size=4, name="test")
    await people.book.open()
    where: dict[str, Any] = {"database_url": own_servers.database_url, "redis_url": own_servers.redis_url}
    replicas = [await Replica(Settings(**where, replica=f"own-{n}", limits="off")).start() for n in range(2)]
    yield replicas[0], replicas[1]
    for replica in replicas:
        await replica.stop()
    await people.book.close()


class Talk:
    """Sends without pause through both replicas, and remembers when each message was acknowledged."""

    def __init__(self, user: Person, session: int, replicas: tuple[Replica, Replica]) -> None:
        self.acknowledged: dict[int, float] = {}
        self.refused: list[int] = []
        self._user, self._session, self._replicas = user, session, replicas
        self._flows = True
        self._task = asyncio.create_task(self._flow())

    async def _flow(self) -> None:
        number = 0
        while self._flows:
            answer = await self._user.via(self._replicas[number % 2]).send(self._session, f"{number}")
            number += 1
            if answer.status == 201:
                self.acknowledged[answer.json["message"]["id"]] = time.monotonic()
            else:
                self.refused.append(answer.status)
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._flows = False
        await self._task


class Watch(Follower):
    """A follower that notes when it first held each message."""

    def __init__(self, person: Person, url: str) -> None:
        super().__init__(person, url)
        self.held_at: dict[int, float] = {}

    def look(self, session: int) -> None:
        for id_ in self.ids(session)[len(self.held_at) :]:
            self.held_at[id_] = time.monotonic()


async def follow(talk: Talk, watches: list[Watch], session: int, seconds: float) -> None:
    """Look at what the watches hold, every few milliseconds."""
    until_ = time.monotonic() + seconds
    while time.monotonic() < until_:
        await asyncio.sleep(0.01)
        for watch in watches:
            watch.look(session)


def longest(talk: Talk, watch: Watch) -> float:
    """Give the longest time from an acknowledgement until a watch held the message."""
    return max(watch.held_at.get(id_, time.monotonic()) - at for id_, at in talk.acknowledged.items())


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("trouble", ["killed", "frozen", "cut"])
async def test_whatever_redis_does_connected_clients_have_every_message_in_time(
    own_servers: Servers, own_two: tuple[Replica, Replica], people: People, trouble: str
) -> None:
    user, staff, session = await people.chat(credits=10_000)
    watches = [Watch(staff, own_two[1].url), Watch(user, own_two[0].url)]
    await asyncio.gather(*(watch.connect(session) for watch in watches))
    talk = Talk(user, session, own_two)
    await follow(talk, watches, session, 0.3)
    if trouble == "killed":
        os.kill(own_servers.valkey.pid, signal.SIGKILL)
        await follow(talk, watches, session, 3)
        await own_servers.also(own_servers.valkey.start())
    elif trouble == "frozen":
        with frozen(own_servers.valkey.pid):
            await follow(talk, watches, session, 3)
    else:
        bell = redis.asyncio.from_url(own_servers.redis_url)
        for kind in ("pubsub", "normal"):
            await bell.client_kill_filter(_type=kind, skipme=True)
        await bell.aclose()
        await follow(talk, watches, session, 2)

    async def is_ready() -> bool:
        for watch in watches:
            watch.look(session)
        answers = [await user.via(replica).get("/readyz") for replica in own_two]
        return all(answer.json["status"] == "ready" for answer in answers)

    await until(is_ready, 10)
    await follow(talk, watches, session, 0.3)
    await talk.end()
    assert talk.refused == []
    book = [id_ for id_, _, _ in await timeline(people.book, session)]

    async def have_all() -> bool:
        for watch in watches:
            watch.look(session)
        return all(watch.ids(session) == book for watch in watches)

    await until(have_all, LOST_SECONDS + SLACK_SECONDS)
    for watch in watches:
        assert longest(talk, watch) < (LOST_SECONDS if trouble == "cut" else AWAY_SECONDS) + SLACK_SECONDS


async def test_a_reader_that_never_reads_is_parted_with_and_costs_the_others_nothing(
    make_replica: MakeReplica, people: People
) -> None:
    replica = await make_replica(limits="off")
    user, staff, session = await people.chat(credits=100_000, cost=0)
    others = [await SocketClient.open(user, replica) for _ in range(19)]
    port = int(replica.url.rsplit(":", 1)[1])
    _never_read, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(raw_handshake(user.token))

    def open_sockets() -> int:
        return len(replica.context.sockets)

    await until(_is(lambda: open_sockets() == 20))
    overflows = replica.context.broker.counters.overflows
    sent = 0
    content = "あ" * 4_000
    while replica.context.broker.counters.overflows == overflows:
        answers = await asyncio.gather(*(staff.via(replica).send(session, content) for _ in range(20)))
        sent += [answer.status for answer in answers].count(201)
        assert sent < 5_000, "Nobody was parted with."
    await until(_is(lambda: open_sockets() == 19), 5)
    for other in others:
        await other.until(lambda other=other: len(other.events("message")) == sent, 10)  # type: ignore[misc]
    writer.close()


def _is(condition):
    async def check() -> bool:
        return bool(condition())

    return check


async def test_a_replica_that_goes_away_sends_its_sockets_elsewhere_and_loses_nothing(
    make_process: MakeProcess, people: People, book: Book
) -> None:
    leaving, staying = await asyncio.gather(make_process(), make_process())
    user, staff, session = await people.chat(credits=1_000)
    crowd = [await SocketClient.open(await people.user(), leaving) for _ in range(100)]
    follower = Follower(staff, leaving.url)
    await follower.connect(session)
    sender = await SocketClient.open(user, leaving)
    acknowledged: list[int] = []

    async def talk() -> None:
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            while True:
                sent = await asyncio.wait_for(sender.command("send", session_id=session, content="まだいます"), 1)
                acknowledged.append(sent["message"]["id"])

    talking = asyncio.create_task(talk())
    began = time.monotonic()
    end = asyncio.create_task(leaving.end())
    codes = await asyncio.gather(*(socket.closed(9) for socket in crowd))
    await end
    assert time.monotonic() - began < 10
    assert set(codes) == {1001}
    delays = [(await socket.event("reconnect"))["after_ms"] for socket in crowd]
    assert len(set(delays)) > 50, "They all come back at the same moment."
    await talking
    await follower.connect(session, url=staying.url)

    async def has_all() -> bool:
        return follower.ids(session) == [id_ for id_, _, _ in await timeline(book, session)]

    await until(has_all)
    assert acknowledged
    assert set(acknowledged) <= set(follower.ids(session))


async def test_a_draining_replica_opens_no_socket_and_lets_held_calls_go(replica: Replica, people: People) -> None:
    user, _, session = await people.chat()
    held = asyncio.create_task(user.via(replica).poll(session, 0, Prefer="wait=20"))
    await until(_is(lambda: len(replica.context.held) == 1))
    replica.context.held.drain()
    assert json.loads((await held).raw) == []
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await SocketClient.open(user, replica)
    assert refused.value.status == 503
