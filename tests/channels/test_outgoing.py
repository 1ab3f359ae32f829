"""The queue to Redis keeps the newest, and nothing that is too old to be news."""

import asyncio

import pytest

from channels import outgoing
from channels.counters import Counters
from channels.outgoing import BATCH_FRAMES, STALE_SECONDS, Outgoing


def test_a_full_queue_drops_the_oldest() -> None:
    counters = Counters()
    queue = Outgoing(counters, limit_frames=3)
    for number in range(5):
        queue.put("account:7", b"%d" % number)
    assert [frame.data for frame in queue.take()] == [b"2", b"3", b"4"]
    assert counters.dropped == 2
    assert counters.queue_length == counters.queue_bytes == 0


def test_bytes_are_bounded_too() -> None:
    counters = Counters()
    queue = Outgoing(counters, limit_bytes=10)
    for letter in (b"a", b"b", b"c"):
        queue.put("account:7", letter * 4)
    assert counters.queue_bytes == 8
    assert [frame.data for frame in queue.take()] == [b"bbbb", b"cccc"]


def test_what_is_too_old_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(outgoing, "monotonic", lambda: now)
    counters = Counters()
    queue = Outgoing(counters)
    queue.put("account:7", b"old")
    now += STALE_SECONDS / 2
    queue.put("account:7", b"new")
    now += STALE_SECONDS / 2 + 0.1
    assert [frame.data for frame in queue.take()] == [b"new"]
    assert counters.dropped == 1


async def test_batches_are_bounded_and_settle_when_all_are_done() -> None:
    queue = Outgoing(Counters())
    await asyncio.wait_for(queue.settled(), 1)
    for number in range(BATCH_FRAMES + 1):
        queue.put("account:7", b"%d" % number)
    settled = asyncio.create_task(queue.settled())
    assert len(queue.take()) == BATCH_FRAMES
    queue.settle()
    await asyncio.sleep(0)
    assert not settled.done()
    await asyncio.wait_for(queue.wait(), 1)
    assert len(queue.take()) == 1
    queue.settle()
    await asyncio.wait_for(settled, 1)
