"""What waits for one listener.

The hub puts payloads in and never waits; one writer takes all that waits at once. A listener that falls too far
behind is parted with, for it can catch up by the book, and the others must not pay for it.
"""

import asyncio
from collections.abc import Callable

from channels.counters import Counters

# A reader that is this far behind (some 3,000 messages) catches up faster by the book than by the bell.
LIMIT_BYTES = 1024 * 1024


class Outbox:
    """A socket's payloads in order, bounded in bytes. One writer takes them."""

    __slots__ = (
        "_bytes",
        "_closed",
        "_counters",
        "_in_hand",
        "_limit",
        "_on_overflow",
        "_waiting",
        "_waker",
        "overflowed",
    )

    def __init__(
        self,
        limit_bytes: int = LIMIT_BYTES,
        *,
        on_overflow: Callable[[], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        """Make an empty outbox.

        `on_overflow` is called once, at the moment of the overflow: a writer that is stuck in a send to a peer that
        never reads cannot be woken by `take`, and must be reached another way.
        """
        self._waiting: list[bytes] = []
        self._bytes = 0  # waiting and in the writer's hand
        self._in_hand = 0
        self._limit = limit_bytes
        self._on_overflow = on_overflow
        self._counters = counters
        self._waker: asyncio.Future[None] | None = None
        self._closed = False
        self.overflowed = False

    def hear(self, payload: bytes) -> None:
        """Add a payload; beyond the limit drop everything and part with the listener."""
        if self._closed or self.overflowed:
            return
        self._bytes += len(payload)
        if self._bytes > self._limit:
            self._overflow()
            return
        self._waiting.append(payload)
        if self._waker is not None:
            self._wake()

    async def take(self) -> list[bytes] | None:
        """Wait for payloads and take all of them, oldest first; None when closed (and emptied) or overflowed.

        What was taken counts against the limit until the next call, because until then it is still on its way.
        """
        self._bytes -= self._in_hand
        self._in_hand = 0
        while not self._waiting:
            if self._closed or self.overflowed:
                return None
            self._waker = asyncio.get_running_loop().create_future()
            try:
                await self._waker
            finally:
                self._waker = None
        batch, self._waiting = self._waiting, []
        self._in_hand = self._bytes
        return batch

    def close(self) -> None:
        """Take no more payloads; those that wait are still handed out, then `take` answers None."""
        self._closed = True
        self._wake()

    def _overflow(self) -> None:
        self.overflowed = True
        self._waiting = []
        if self._counters is not None:
            self._counters.overflows += 1
        self._wake()
        if self._on_overflow is not None:
            self._on_overflow()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are not known to be sent: waiting, or in the writer's hand."""
        return self._bytes


class Waiter:
    """A listener that is only woken and keeps no bytes: for a call that is held until something happens.

    Join first, then read the book, then wait: what lands between is remembered as a ring.
    """

    __slots__ = ("_rung", "_waker")

    def __init__(self) -> None:
        self._rung = False
        self._waker: asyncio.Future[None] | None = None

    def hear(self, payload: bytes) -> None:
        """Remember that the bell rang, and wake who waits."""
        self.ring()

    def ring(self) -> None:
        """Wake who waits, also without an event: at a drain, or by the sweep."""
        self._rung = True
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Wait for a ring at most so long; True when it rang since the last call. Forgets the ring."""
        if not self._rung and seconds > 0:
            self._waker = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._waker
            except TimeoutError:
                pass
            finally:
                self._waker = None
        rung, self._rung = self._rung, False
        return rung
