"""The bell rope: brings an event to all who listen, in this process at once and in the others by Redis.

Actions publish after the commit; sockets and held calls join, and read the book after any doubt. Whatever Redis does,
`publish` never waits, and nothing here is lost for good: the bell only says early what the book says anyway.

A published frame is `ORIGIN TOPICS`, a line end, and the payload as it is: the eight characters of the replica that
made it, so that it ignores its own echo, and those topics of the same event that were published before, so that who
hears by two topics gets it once.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from time import monotonic
from typing import Literal

from redis.exceptions import RedisError

from channels.counters import Counters
from channels.hub import Hub, Listener
from channels.outgoing import LIMIT_FRAMES, Outgoing
from channels.rope import Rope, RopeCut
from channels.tasks import end

log = logging.getLogger(__name__)

ORIGIN_CHARACTERS = 8
# Full jitter up to a cap that doubles: 20 replicas come back spread out, yet within the 5 s that a repair may take.
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 2.0
# A first rope hangs in milliseconds; a start beside a frozen Redis must not wait longer than the watchdog would.
START_SECONDS = 3.0
# A full queue empties in under a second; a drain has ten for everything.
STOP_SECONDS = 1.0


class Broker:
    """One replica's end of the rope. Make it inside the event loop; start it once and stop it once."""

    def __init__(
        self,
        url: str,
        *,
        on_gap: Callable[[], Awaitable[None]] | None = None,
        on_change: Callable[[bool], None] | None = None,
        origin: str | None = None,
        limit_frames: int = LIMIT_FRAMES,
    ) -> None:
        """Prepare a broker; a bad URL raises ValueError.

        `on_gap` is awaited in a task of the broker whenever Redis is back (and all is subscribed): bells may be missed.
        `on_change` is called with True when Redis goes away and with False when it is back. Both may be set later,
        before `start`.
        """
        self.origin = origin or secrets.token_hex(ORIGIN_CHARACTERS // 2)
        if len(self.origin.encode()) != ORIGIN_CHARACTERS:
            raise ValueError(f"an origin has {ORIGIN_CHARACTERS} ASCII characters")
        self.counters = Counters()
        self.hub = Hub(self.counters)
        self.on_gap = on_gap
        self.on_change = on_change
        self._url = url
        self._own = self.origin.encode()
        self._outgoing = Outgoing(self.counters, limit_frames)
        self._task: asyncio.Task[None] | None = None
        self._gap_task: asyncio.Task[None] | None = None
        self._gap_again = False
        self._first_try_over = asyncio.Event()
        self._is_away = True
        self._rope_is_new = True  # until its first canary is back
        self._canary_seen_at: float | None = None
        self._rope = self._make_rope()  # already here, so that a bad URL is told to who passed it

    # Life

    async def start(self) -> None:
        """Hang the rope, for ever; returns when Redis is ready or the first try has failed, within 3 s."""
        self._task = asyncio.create_task(self._run(), name="broker")
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._first_try_over.wait()

    async def stop(self) -> None:
        """Publish what waits, within 1 s and only if Redis is there, then let go."""
        if not self._is_away:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._outgoing.settled()
        await end(self._task, self._gap_task)
        self._is_away = True

    # Listening

    def join(self, listener: Listener, *topics: str) -> None:
        """Let a listener hear these topics, of this process at once; of the others when `subscribed` says so."""
        for topic in topics:
            if self.hub.join(listener, topic):
                self._rope.look_at(topic)

    def part(self, listener: Listener, *topics: str) -> None:
        """Let a listener hear these topics no more."""
        for topic in topics:
            if self.hub.part(listener, topic):
                self._rope.look_at(topic)

    def leave(self, listener: Listener) -> None:
        """Forget a listener altogether; one that is unknown is no error."""
        for topic in self.hub.leave(listener):
            self._rope.look_at(topic)

    async def subscribed(self, *topics: str) -> bool:
        """Wait until Redis has confirmed these joined topics; False as soon as Redis is away.

        Waits for milliseconds usually, and never longer than the watchdog needs to call Redis away.
        """
        for topic in topics:
            if self._is_away or not await self._rope.subscribed(topic):
                return False
        return True

    # Publishing

    def publish(self, topics: Collection[str], payload: bytes) -> None:
        """Bring one event to all who hear any of these topics; own listeners have it when this returns. Never waits."""
        topics = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
        self.hub.deliver(topics, payload)
        earlier: list[str] = []
        for topic in topics:
            self._outgoing.put(topic, b"%b %b\n%b" % (self._own, " ".join(earlier).encode(), payload))
            earlier.append(topic)

    def _hear(self, topic: str, data: bytes) -> None:
        """Deliver a frame of another replica."""
        if data.startswith(self._own):
            self.counters.echoes += 1
            return
        head, line_end, payload = data.partition(b"\n")
        if not line_end or head[ORIGIN_CHARACTERS : ORIGIN_CHARACTERS + 1] != b" ":
            self.counters.garbled += 1
            return
        self.counters.heard += 1
        earlier = head[ORIGIN_CHARACTERS + 1 :].decode().split()
        self.hub.deliver((topic,), payload, besides=earlier)

    # State

    @property
    def is_away(self) -> bool:
        """Whether Redis is away, as far as we know: not connected yet, cut, or silent for a second."""
        return self._is_away

    @property
    def state(self) -> Literal["ready", "away"]:
        """The same in a word."""
        return "away" if self._is_away else "ready"

    @property
    def canary_age_seconds(self) -> float | None:
        """Seconds since a canary last came back; None when none ever did."""
        return None if self._canary_seen_at is None else monotonic() - self._canary_seen_at

    # The rope

    def _make_rope(self) -> Rope:
        self._rope_is_new = True
        return Rope(
            self._url,
            self.origin,
            hub=self.hub,
            outgoing=self._outgoing,
            counters=self.counters,
            on_frame=self._hear,
            on_canary=self._canary_returned,
            on_silence=self._go_away,
        )

    async def _run(self) -> None:
        """Hang one rope after the other."""
        failures = 0  # in a row
        while True:
            reason = "no reason"
            try:
                await self._rope.hold()
            except* (RedisError, OSError, RopeCut) as faults:
                reason = str(faults.exceptions[0]) or repr(faults.exceptions[0])
            except* Exception as faults:  # a fault of ours must not end the pushes of this replica for good
                log.exception("the broker stumbled")
                reason = repr(faults.exceptions[0])
            failures = failures + 1 if self._rope_is_new else 1
            self._go_away()
            self._first_try_over.set()
            log.log(logging.WARNING if failures == 1 else logging.DEBUG, "lost the way through Redis: %s", reason)
            cap = min(BACKOFF_CAP_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(0, cap))
            self.counters.reconnects += 1
            self._rope = self._make_rope()

    def _go_away(self) -> None:
        """Redis is silent or gone: release who waits for it."""
        self._rope.give_up_waiting()
        if not self._is_away:
            self._is_away = True
            self._tell_change()

    def _canary_returned(self) -> None:
        """Redis is there, both ways, and has all our subscriptions."""
        self._canary_seen_at = monotonic()
        if not self._is_away:
            return
        self._is_away = self._rope_is_new = False
        self._first_try_over.set()
        log.info("the way through Redis is open")
        self._tell_change()
        self._read_gap()

    def _tell_change(self) -> None:
        if self.on_change is not None:
            try:
                self.on_change(self._is_away)
            except Exception:  # a fault there must not cost us the rope
                log.exception("whoever is told about Redis failed")

    def _read_gap(self) -> None:
        """Have the book read for what may have been missed; a gap during a reading makes one more."""
        if self._gap_task is not None and not self._gap_task.done():
            self._gap_again = True
        elif self.on_gap is not None:
            self._gap_task = asyncio.create_task(self._read_gaps(self.on_gap), name="broker gap")

    async def _read_gaps(self, on_gap: Callable[[], Awaitable[None]]) -> None:
        self._gap_again = True
        while self._gap_again:
            self._gap_again = False
            self.counters.gaps += 1
            try:
                await on_gap()
            except Exception:  # the regular sweep repairs the same a little later
                self.counters.gap_failures += 1
                log.warning("could not read what was missed while Redis was away", exc_info=True)
