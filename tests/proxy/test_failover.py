"""Replicas die and restart under load: clients behind the nodes get everything through, once, and miss nothing."""

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from storage.book import Book
from tests.conftest import MakeProcess
from tests.follower import Follower
from tests.people import People, Person, balance
from tests.proxy.conftest import MakeNode
from tests.proxy.nodes import SECRET
from tests.until import until

SENDS_PER_SECOND = 200
CHATS = 20
COST = 1
# What a client with an idempotency key may need at most, tries and pauses together.
THROUGH_SECONDS = 3.0
SETTINGS = {"CONCIERGE_NODE_SECRET": SECRET, "CONCIERGE_STAFF_ENTRY": "required", "CONCIERGE_LIMITS": "off"}


@dataclass
class Load:
    """Sends at a steady rate through both nodes; each is tried again with its key until it is through."""

    chats: list[tuple[Person, Person, int]]
    urls: list[str]
    sent: dict[str, int] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    phase: str = "calm"
    _going: set[asyncio.Task[None]] = field(default_factory=set)
    _ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        await asyncio.wait({self._ticking})
        await asyncio.gather(*self._going)

    async def until_sent(self, more: int) -> None:
        """Wait until so many more sends are through."""
        goal = len(self.sent) + more

        async def reached() -> bool:
            return len(self.sent) >= goal

        await until(reached, 20)

    async def _tick(self) -> None:
        """Start what is due: a late tick makes up for the time it lost."""
        began, started = time.monotonic(), 0
        while True:
            while started < (time.monotonic() - began) * SENDS_PER_SECOND:
                task = asyncio.create_task(self._send(started))
                self._going.add(task)
                task.add_done_callback(self._going.discard)
                started += 1
            await asyncio.sleep(0.005)

    async def _send(self, number: int) -> None:
        user, _, session = self.chats[number % CHATS]
        key = f"{session}-{number}"
        began = time.monotonic()
        for attempt in range(1_000):
            url = self.urls[(number // CHATS + attempt) % len(self.urls)]
            try:
                answer = await user.via(url).send(session, key, key)
            except aiohttp.ClientError as error:
                self.failed[f"{self.phase}: {type(error).__name__}"] += 1
            else:
                if answer.status == 201:
                    self.sent[key] = answer.json["message"]["id"]
                    break
                self.failed[f"{self.phase}: {answer.status} {answer.code}"] += 1
            await asyncio.sleep(0.05)
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)


class Device(Follower):
    """A follower that comes back by itself when its socket closes."""

    comebacks = 0

    async def stay(self, session: int) -> None:
        """Follow a session until cancelled."""
        while True:
            try:
                await self.connect(session)
                assert self._task is not None
                await asyncio.wait({self._task})
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)
            self.comebacks += 1


async def test_a_replica_dies_and_the_other_restarts_under_load(
    make_process: MakeProcess, make_node: MakeNode, people: People, book: Book
) -> None:
    first, second = await make_process(**SETTINGS), await make_process(**SETTINGS)
    tokyo, osaka = await make_node(first, second), await make_node(first, second)
    chats = [await people.chat(credits=10_000, cost=COST) for _ in range(CHATS)]
    # Each user at one node, each staff member at the other's staff entry.
    devices = [
        Device(person, url)
        for number, (user, staff, _) in enumerate(chats)
        for person, url in zip((user, staff), _places(tokyo, osaka, number), strict=True)
    ]
    sessions = [session for _, _, session in chats for _ in range(2)]
    async with asyncio.TaskGroup() as staying:
        stays = [staying.create_task(device.stay(at)) for device, at in zip(devices, sessions, strict=True)]
        await until(lambda: _all_connected(devices))

        load = Load(chats, [tokyo.user, osaka.user])
        load.start()
        await load.until_sent(100)
        assert not load.failed

        load.phase = "killed"
        await first.end(signal.SIGKILL)
        await load.until_sent(200)
        await first.start()
        await load.until_sent(100)

        load.phase = "graceful"
        await second.end(signal.SIGTERM)
        await second.start()
        await load.until_sent(200)
        await load.stop()

        graceful = {what: count for what, count in load.failed.items() if what.startswith("graceful")}
        assert graceful == {}
        assert load.longest_seconds < THROUGH_SECONDS
        rows = await book.fetch("select id, content from messages where session_id = any($1)", sessions)
        assert {row["content"]: row["id"] for row in rows} == load.sent
        assert len(rows) == len(load.sent)
        for user, _, session in chats:
            count = sum(key.startswith(f"{session}-") for key in load.sent)
            assert await balance(book, user.id) == (10_000 - COST * count,) * 2
        await _assert_missed_nothing(book, devices, sessions)
        for stay in stays:
            stay.cancel()


def _places(tokyo, osaka, number: int) -> tuple[str, str]:
    return (tokyo.user, osaka.staff) if number % 2 else (osaka.user, tokyo.staff)


async def _all_connected(devices: list[Device]) -> bool:
    return all(device.is_connected and device._resumed.is_set() for device in devices)


async def _assert_missed_nothing(book: Book, devices: list[Device], sessions: list[int]) -> None:
    """Every device holds exactly what the book has, in its order; and the trouble did reach them."""
    for device, session in zip(devices, sessions, strict=True):
        ids = [
            row["id"] for row in await book.fetch("select id from messages where session_id = $1 order by id", session)
        ]

        async def has_all(device: Device = device, session: int = session, ids: list[int] = ids) -> bool:
            return device.ids(session) == ids

        await until(has_all)
    assert sum(device.comebacks for device in devices) >= len(devices), "each replica's sockets had to come back"
