"""What waits to be published: a bounded queue between the callers, who never wait, and the one writer."""

import asyncio
from collections import deque
from time import monotonic
from typing import NamedTuple

from channels.counters import Counters

# Two seconds of the busiest traffic we plan for (10,000 frames/s); Redis usually takes a frame in under a millisecond.
LIMIT_FRAMES = 20_000
# Long messages fill the memory before they fill the count.
LIMIT_BYTES = 16 * 1024 * 1024
# A message bell older than this has been repaired by everybody's sweep, and an old "is typing" is a lie.
STALE_SECONDS = 5.0
# One pipelined write: big enough to be cheap, small enough to hold the event loop for a few milliseconds only.
BATCH_FRAMES = 500


class Frame(NamedTuple):
    """One PUBLISH."""

    topic: str
    data: bytes
    put_at: float


class Outgoing:
    """Frames in order. When full, the oldest goes: the newest matters most, and the sweep repairs the rest."""

    def __init__(self, counters: Counters, limit_frames: int = LIMIT_FRAMES, limit_bytes: int = LIMIT_BYTES) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._limit_frames = limit_frames
        self._limit_bytes = limit_bytes
        self._counters = counters
        self._filled = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def put(self, topic: str, data: bytes) -> None:
        """Queue a frame; never waits."""
        self._frames.append(Frame(topic, data, monotonic()))
        self._bytes += len(data)
        while len(self._frames) > self._limit_frames or self._bytes > self._limit_bytes:
            self._drop_oldest()
        self._gauge()
        self._settled.clear()
        self._filled.set()

    async def wait(self) -> None:
        """Wait until there is something to take, or somebody pokes."""
        await self._filled.wait()

    def poke(self) -> None:
        """Wake the writer although the queue may be empty."""
        self._filled.set()

    def take(self) -> list[Frame]:
        """The next batch, oldest first, without what has become stale; may be empty."""
        oldest_wanted = monotonic() - STALE_SECONDS
        while self._frames and self._frames[0].put_at < oldest_wanted:
            self._drop_oldest()
        batch = [self._frames.popleft() for _ in range(min(len(self._frames), BATCH_FRAMES))]
        self._bytes -= sum(len(frame.data) for frame in batch)
        if not self._frames:
            self._filled.clear()
        self._gauge()
        return batch

    def settle(self) -> None:
        """The writer says: what I took is done with."""
        if not self._frames:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until everything queued has been taken and done with."""
        await self._settled.wait()

    def _drop_oldest(self) -> None:
        self._bytes -= len(self._frames.popleft().data)
        self._counters.dropped += 1

    def _gauge(self) -> None:
        self._counters.queue_length = len(self._frames)
        self._counters.queue_bytes = self._bytes

    def __len__(self) -> int:
        return len(self._frames)
