"""Valkey freezes, dies, cuts and falls silent: callers never wait, and everything heals by itself.

Within these tests a lost bell stays lost: to bring it is the sweep's work, for which `on_gap` calls.
"""

import asyncio
import contextlib
import time

import pytest

from channels import Outbox

NOTICE_SECONDS = 3.0  # a frozen Redis is known to be away within this
HEAL_SECONDS = 5.0


class Gaps:
    """Counts the calls to read the book."""

    def __init__(self, fail=False):
        self.calls = 0
        self.fail = fail

    async def __call__(self):
        self.calls += 1
        if self.fail:
            raise RuntimeError("the book cannot be read")


@contextlib.asynccontextmanager
async def smooth_loop(longest=0.5):
    """Fail when the event loop stood still for long meanwhile."""
    worst = 0.0

    async def feel():
        nonlocal worst
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - start)

    feeling = asyncio.create_task(feel())
    yield
    feeling.cancel()
    assert worst < longest


async def assert_carries(here, there, topic="account:7"):
    """Prove that an event goes from one replica to the other, by a listener that joins for it."""
    outbox, payload = Outbox(), b"%f" % time.monotonic()
    there.join(outbox, topic)
    assert await asyncio.wait_for(there.subscribed(topic), HEAL_SECONDS)
    here.publish([topic], payload)
    async with asyncio.timeout(HEAL_SECONDS):
        while payload not in (await outbox.take() or ()):
            pass
    there.leave(outbox)


async def test_frozen_valkey_is_noticed_and_nobody_waits(valkey, make_broker, eventually):
    changes, gaps = [], Gaps()
    here = await make_broker(valkey.url, on_gap=gaps, on_change=changes.append)
    there = await make_broker(valkey.url)
    own = Outbox()
    here.join(own, "account:7")
    await assert_carries(there, here)
    await eventually(lambda: gaps.calls == 1)
    await own.take()

    async with smooth_loop():
        valkey.freeze()
        for number in range(1000):  # no await: had one publish waited, the next line would not be reached
            here.publish(["account:7"], b"%d" % number)
        assert await own.take() == [b"%d" % number for number in range(1000)]
        assert await eventually(lambda: here.is_away, NOTICE_SECONDS) > 0.5
        assert here.state == "away"
        waited = await eventually(lambda: asyncio.wait_for(_is_false(here.subscribed("account:7")), 1))
        assert waited < 0.1
        here.publish(["account:7"], b"while away")
        assert await own.take() == [b"while away"]
        await eventually(lambda: here.counters.reconnects >= 1, HEAL_SECONDS)
        valkey.thaw()
        await eventually(lambda: not here.is_away and not there.is_away, HEAL_SECONDS)
    await eventually(lambda: gaps.calls == 2)
    assert changes == [False, True, False]
    await assert_carries(here, there)
    await assert_carries(there, here)


async def _is_false(answer):
    return not await answer


async def test_a_hiccup_costs_no_connection_and_no_event(valkey, make_broker, eventually):
    gaps = Gaps()
    here, there = await make_broker(valkey.url), await make_broker(valkey.url, on_gap=gaps)
    outbox = Outbox()
    there.join(outbox, "account:7")
    assert await there.subscribed("account:7")
    valkey.freeze()
    here.publish(["account:7"], b"into the silence")
    await eventually(lambda: there.is_away, NOTICE_SECONDS)
    valkey.thaw()
    await eventually(lambda: not there.is_away, 1)
    assert await asyncio.wait_for(outbox.take(), 1) == [b"into the silence"]
    assert there.counters.reconnects == here.counters.reconnects == 0
    await eventually(lambda: gaps.calls == 2)


async def test_waiting_for_a_confirmation_ends_when_valkey_freezes(valkey, make_broker):
    broker, outbox = await make_broker(valkey.url), Outbox()
    valkey.freeze()
    broker.join(outbox, "account:7")
    start = time.monotonic()
    assert not await asyncio.wait_for(broker.subscribed("account:7"), NOTICE_SECONDS)
    assert time.monotonic() - start > 0.5  # it did wait for Valkey first


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_cut_connections_come_back(valkey, make_broker, eventually, kind):
    changes, gaps = [], Gaps()
    here = await make_broker(valkey.url, on_gap=gaps, on_change=changes.append)
    there = await make_broker(valkey.url)
    outbox = Outbox()
    here.join(outbox, "account:7")
    assert await here.subscribed("account:7")
    await eventually(lambda: gaps.calls == 1)
    assert valkey.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") == 2
    await eventually(lambda: gaps.calls == 2, HEAL_SECONDS)
    assert changes == [False, True, False]
    await eventually(lambda: not there.is_away and there.counters.reconnects == 1)
    there.publish(["account:7"], b"again")
    assert await asyncio.wait_for(outbox.take(), HEAL_SECONDS) == [b"again"]


async def test_killed_and_restarted_valkey_gets_all_subscriptions_again(valkey, make_broker, eventually):
    gaps = Gaps()
    here, there = await make_broker(valkey.url, on_gap=gaps), await make_broker(valkey.url)
    outbox = Outbox()
    here.join(outbox, "account:7")
    valkey.kill()
    await eventually(lambda: here.is_away and there.is_away, 1)
    here.join(outbox, "account:8")
    here.publish(["account:8"], b"own")
    there.publish(["account:7"], b"waits for its Redis, or is too old")
    assert await outbox.take() == [b"own"]
    await asyncio.to_thread(valkey.start)
    await eventually(lambda: not here.is_away and not there.is_away, HEAL_SECONDS)
    await eventually(lambda: gaps.calls == 2)
    there.publish(["account:7"], b"seven")
    there.publish(["account:8"], b"eight")
    heard = []
    async with asyncio.timeout(HEAL_SECONDS):
        while b"eight" not in heard:
            heard += await outbox.take() or ()
    assert heard[-2:] == [b"seven", b"eight"]


@pytest.mark.parametrize("silent", [0, 1], ids=["listening", "publishing"])
async def test_a_connection_that_falls_silent_is_replaced(pipe, valkey, make_broker, eventually, silent):
    here, there = await make_broker(pipe.url), await make_broker(valkey.url)
    await assert_carries(there, here)
    pipe.fall_silent(silent)
    await eventually(lambda: here.is_away, NOTICE_SECONDS)
    assert not there.is_away
    await eventually(lambda: not here.is_away, HEAL_SECONDS)
    assert here.counters.reconnects == 1
    await assert_carries(there, here)
    await assert_carries(here, there)


async def test_5000_topics_are_subscribed_again(valkey, make_broker, eventually):
    gaps = Gaps()
    here, there = await make_broker(valkey.url, on_gap=gaps), await make_broker(valkey.url)
    topics = [f"account:{n}" for n in range(5000)]
    outbox = Outbox()
    here.join(outbox, *topics)
    assert await here.subscribed(*topics)
    async with smooth_loop():
        valkey.command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        await eventually(lambda: gaps.calls == 2, HEAL_SECONDS)
    assert len(valkey.command("PUBSUB", "CHANNELS", "account:*")) == 5000
    await eventually(lambda: there.counters.reconnects == 1 and not there.is_away)
    for topic in topics:
        there.publish([topic], topic.encode())
    heard = []
    async with asyncio.timeout(HEAL_SECONDS):
        while len(heard) < 5000:
            heard += await outbox.take() or ()
    assert heard == [topic.encode() for topic in topics]


async def test_a_full_queue_keeps_what_it_can_for_valkeys_return(stopped_valkey, make_broker, eventually):
    broker = await make_broker(stopped_valkey.url, limit_frames=10)
    assert broker.is_away
    own = Outbox()
    broker.join(own, "account:7")
    assert not await broker.subscribed("account:7")
    for number in range(25):
        broker.publish(["account:7"], b"%d" % number)
    assert await own.take() == [b"%d" % number for number in range(25)]
    assert broker.counters.dropped == 15
    assert broker.counters.queue_length == 10
    await asyncio.to_thread(stopped_valkey.start)
    await eventually(lambda: broker.counters.published == 10, HEAL_SECONDS)
    await eventually(lambda: broker.counters.echoes > 0)
    assert broker.counters.dropped == 15


async def test_a_start_beside_a_frozen_valkey_is_bounded(valkey, make_broker):
    valkey.freeze()
    start = time.monotonic()
    broker = await make_broker(valkey.url)
    assert time.monotonic() - start < NOTICE_SECONDS + 0.5
    assert broker.is_away
    start = time.monotonic()
    await broker.stop()
    assert time.monotonic() - start < 0.5
    valkey.thaw()


async def test_a_book_that_cannot_be_read_does_not_stop_the_bell(valkey, make_broker, eventually):
    gaps = Gaps(fail=True)
    here, there = await make_broker(valkey.url, on_gap=gaps), await make_broker(valkey.url)
    await eventually(lambda: here.counters.gap_failures == 1)
    await assert_carries(there, here)
    valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await eventually(lambda: here.counters.gap_failures == 2, HEAL_SECONDS)


async def test_a_gap_while_the_book_is_read_has_it_read_once_more(valkey, make_broker, eventually):
    calls, may_end = [], asyncio.Event()

    async def on_gap():
        calls.append(time.monotonic())
        await may_end.wait()

    broker = await make_broker(valkey.url, on_gap=on_gap)
    for cuts in (1, 2):
        valkey.command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        await eventually(lambda cuts=cuts: broker.counters.reconnects == cuts and not broker.is_away, HEAL_SECONDS)
    assert len(calls) == 1
    may_end.set()
    await eventually(lambda: len(calls) == 2)
    await assert_carries(broker, broker)
    assert len(calls) == 2


async def test_who_is_told_of_a_change_may_fail(valkey, make_broker, eventually):
    def on_change(_away):
        raise RuntimeError("broken")

    broker = await make_broker(valkey.url, on_change=on_change)
    assert not broker.is_away
    valkey.command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
    await eventually(lambda: broker.counters.reconnects == 1 and not broker.is_away, HEAL_SECONDS)
