"""One hanging of the bell rope: two connections to Redis that live and die together.

The broker hangs a rope, holds it until it is cut, and hangs the next one. On one connection we listen, on the other
we publish. A canary goes out by the one and must come back by the other, so it proves the whole way; redis-py notices
neither a half-open nor a frozen connection.

Tasks of a rope: `_listen` reads the listening connection, `_subscribe` writes to it, `_ring` owns the publishing one,
`_watch` is the watchdog.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from channels.counters import Counters
from channels.hub import Hub
from channels.link import Link
from channels.outgoing import Frame, Outgoing

# The watchdog's patience is counted in its own ticks, so that a stall of this process is not taken for Redis's.
TICK_SECONDS = 0.25
# With a canary every half second a frozen Redis is noticed within 0.5 + 4 * 0.25 = 1.5 s, and a sweep then still
# brings a message within 2 s. Redis's own hiccups (fork, slow command) are usually far below a second.
CANARY_TICKS = 2
AWAY_TICKS = 4
# Silence up to here may be a hiccup; the connection is kept, and nothing is lost when it ends. Then we hang a new one.
CUT_TICKS = 10
# Other frames come in but no canary: alive, yet not the whole way (say, two halves of a failover). Give a backlog time.
LOST_CANARY_TICKS = 40
# One SUBSCRIBE of 500 topics is some 10 KB: cheap for Redis, and a bounded hold of our event loop.
CHUNK_TOPICS = 500
# Redis answers a batch of 500 publishes within milliseconds; beyond this it is frozen and the watchdog knows already.
REPLY_SECONDS = 3.0


class RopeCut(Exception):
    """The rope no longer reaches Redis."""


class Rope:
    """Two connections, four tasks, one fate."""

    def __init__(
        self,
        url: str,
        origin: str,
        *,
        hub: Hub,
        outgoing: Outgoing,
        counters: Counters,
        on_frame: Callable[[str, bytes], None],
        on_canary: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        """Prepare a rope; a bad URL raises ValueError.

        `on_frame(topic, data)` gets what is heard, `on_canary()` is called whenever a canary is back, and
        `on_silence()` on every tick of a silence that is too long to be a hiccup.
        """
        self._listening = Link(url)
        self._ringing = Link(url)
        self._hub = hub
        self._outgoing = outgoing
        self._counters = counters
        self._on_frame = on_frame
        self._on_canary = on_canary
        self._on_silence = on_silence
        self._canary_topic = f"canary:{origin}"
        self._subscribed: set[str] = set()  # asked of Redis
        self._unconfirmed: dict[str, int] = {}  # SUBSCRIBEs that Redis has not confirmed, by topic
        self._dirty: set[str] = set()  # topics whose first listener came or last listener went
        self._wanted = asyncio.Event()
        self._awaited: dict[str, asyncio.Future[None]] = {}
        self._frames_heard = 0
        self._canary = 0  # number of the last canary; 0 before the first
        self._canary_due = False
        self._canary_sent_at: float | None = None  # None: none is out
        self._is_cut = False

    # For the broker

    async def hold(self) -> None:
        """Connect, subscribe to all topics of the hub, and work until the rope is cut; always raises."""
        try:
            await self._listening.connect()
            await self._ringing.connect()
            self._dirty.update(self._hub.topics())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._subscribe())
                tasks.create_task(self._ring())
                tasks.create_task(self._watch())
        finally:
            self._is_cut = True
            self.give_up_waiting()
            await self._listening.close()
            await self._ringing.close()

    def look_at(self, topic: str) -> None:
        """A topic's first listener came or its last one went; requests of one tick travel together."""
        self._dirty.add(topic)
        self._wanted.set()

    async def subscribed(self, topic: str) -> bool:
        """Wait until Redis has confirmed a topic; False when that was given up, or nobody here hears the topic."""
        if self._is_cut or not self._hub.hears(topic):
            return False
        if topic in self._subscribed and topic not in self._unconfirmed:
            return True
        waiting = self._awaited.setdefault(topic, asyncio.get_running_loop().create_future())
        await asyncio.wait([waiting])  # not the future itself: it is shared, and one caller's end must not cancel it
        return not waiting.cancelled()

    def give_up_waiting(self) -> None:
        """Release all who wait for a confirmation: Redis is away."""
        for waiting in self._awaited.values():
            waiting.cancel()
        self._awaited.clear()

    # The listening connection

    async def _listen(self) -> None:
        read = self._listening.read
        while True:
            reply = await read()
            self._frames_heard += 1
            kind, topic = reply[0], reply[1].decode()
            if kind == b"message":
                if topic == self._canary_topic:
                    self._canary_returned(reply[2])
                else:
                    self._on_frame(topic, reply[2])
            elif kind == b"subscribe":
                self._confirmed(topic)

    async def _subscribe(self) -> None:
        # The canary's topic is asked for last: its confirmation says that all the topics before it are confirmed.
        await self._ask_for_dirty()
        self._subscribed.add(self._canary_topic)
        self._unconfirmed[self._canary_topic] = 1
        await self._listening.send([("SUBSCRIBE", self._canary_topic)])
        while True:
            await self._wanted.wait()
            await self._ask_for_dirty()

    async def _ask_for_dirty(self) -> None:
        """Bring Redis's idea of our topics in line with the hub's, in chunks."""
        self._wanted.clear()
        dirty, self._dirty = self._dirty, set()
        fresh = [topic for topic in dirty if self._hub.hears(topic) and topic not in self._subscribed]
        stale = [topic for topic in dirty if not self._hub.hears(topic) and topic in self._subscribed]
        self._subscribed.update(fresh)
        self._subscribed.difference_update(stale)
        for topic in fresh:
            self._unconfirmed[topic] = self._unconfirmed.get(topic, 0) + 1
        for topic in dirty:
            if not self._hub.hears(topic) and (waiting := self._awaited.pop(topic, None)) is not None:
                waiting.cancel()
        for command, topics in (("UNSUBSCRIBE", stale), ("SUBSCRIBE", fresh)):
            for start in range(0, len(topics), CHUNK_TOPICS):
                await self._listening.send([(command, *topics[start : start + CHUNK_TOPICS])])

    def _confirmed(self, topic: str) -> None:
        """Redis confirmed a SUBSCRIBE; the topic is ours when no later one is on its way."""
        left = self._unconfirmed.get(topic, 1) - 1
        if left > 0:
            self._unconfirmed[topic] = left
            return
        self._unconfirmed.pop(topic, None)
        if topic == self._canary_topic:
            self._send_canary()
        elif (waiting := self._awaited.pop(topic, None)) is not None and not waiting.done():
            waiting.set_result(None)

    # The publishing connection

    async def _ring(self) -> None:
        while True:
            await self._outgoing.wait()
            batch = self._outgoing.take()
            commands: list[tuple[str | bytes, ...]] = [("PUBLISH", frame.topic, frame.data) for frame in batch]
            if self._canary_due:  # before all others, so that it measures Redis and not our queue
                self._canary_due = False
                self._canary_sent_at = monotonic()
                commands.insert(0, ("PUBLISH", self._canary_topic, str(self._canary).encode()))
            if commands:
                await self._publish(commands, batch)
            self._outgoing.settle()

    async def _publish(self, commands: list[tuple[str | bytes, ...]], batch: list[Frame]) -> None:
        """One round trip. A batch that is cut off is not sent again: it may have arrived, and the sweep repairs."""
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self._ringing.send(commands)
                for _ in commands:
                    await self._ringing.read()
        except BaseException:
            self._counters.dropped += len(batch)
            raise
        self._counters.published += len(batch)

    # The watchdog

    async def _watch(self) -> None:
        silent_ticks = ticks = frames_seen = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            moved = self._frames_heard != frames_seen
            frames_seen = self._frames_heard
            ticks += 1
            if self._canary and not self._canary_due and self._canary_sent_at is None:  # it is back
                silent_ticks = 0
                if ticks >= CANARY_TICKS:
                    ticks = 0
                    self._send_canary()
                continue
            silent_ticks = 0 if moved else silent_ticks + 1
            self._judge(silent_ticks, ticks)

    def _judge(self, silent_ticks: int, ticks: int) -> None:
        """A canary is out: how long may that go on?"""
        if silent_ticks >= AWAY_TICKS:
            self._on_silence()
        if silent_ticks >= CUT_TICKS:
            raise RopeCut("nothing was heard for too long")
        if ticks >= LOST_CANARY_TICKS:
            raise RopeCut("the canary did not come back")

    def _send_canary(self) -> None:
        self._canary += 1
        self._canary_due = True
        self._outgoing.poke()

    def _canary_returned(self, data: Any) -> None:
        if data != str(self._canary).encode() or self._canary_sent_at is None:
            return
        self._counters.canary_seconds = monotonic() - self._canary_sent_at
        self._canary_sent_at = None
        self._on_canary()
