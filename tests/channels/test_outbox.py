"""Outboxes hand everything on in order, or part with the listener; waiters miss no ring."""

import asyncio

import pytest

from channels import Counters, Outbox, Waiter


async def test_take_answers_all_that_waits_in_order() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.hear(b"%d" % number)
    assert await outbox.take() == [b"0", b"1", b"2", b"3", b"4"]


async def test_take_waits_for_the_first_payload() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.hear(b"first")
    outbox.hear(b"second")
    assert await taking == [b"first", b"second"]


async def test_a_cancelled_take_loses_nothing() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.hear(b"kept")
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert await outbox.take() == [b"kept"]


async def test_at_the_limit_is_not_over_it() -> None:
    outbox = Outbox(10)
    outbox.hear(b"x" * 10)
    assert not outbox.overflowed
    assert await outbox.take() == [b"x" * 10]


async def test_overflow_drops_all_and_parts_with_the_listener() -> None:
    told: list[bool] = []
    counters = Counters()
    outbox = Outbox(10, on_overflow=lambda: told.append(True), counters=counters)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.hear(b"x" * 11)
    assert await taking is None
    outbox.hear(b"y")
    assert await outbox.take() is None
    assert outbox.overflowed
    assert told == [True]
    assert counters.overflows == 1


async def test_what_the_writer_has_in_hand_counts_until_it_comes_again() -> None:
    outbox = Outbox(10)
    outbox.hear(b"x" * 6)
    await outbox.take()
    assert outbox.waiting_bytes == 6
    outbox.hear(b"y" * 4)
    assert not outbox.overflowed
    assert await outbox.take() == [b"y" * 4]
    assert outbox.waiting_bytes == 4
    outbox.hear(b"z" * 7)  # 4 in hand and 7 waiting
    assert outbox.overflowed


async def test_a_closed_outbox_hands_out_the_rest_and_then_none() -> None:
    outbox = Outbox()
    outbox.hear(b"last")
    outbox.close()
    outbox.hear(b"too late")
    assert await outbox.take() == [b"last"]
    assert await outbox.take() is None
    assert not outbox.overflowed


async def test_closing_wakes_a_writer_that_waits() -> None:
    outbox = Outbox()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.close()
    assert await taking is None


async def test_a_ring_before_the_wait_is_remembered_once() -> None:
    waiter = Waiter()
    waiter.hear(b"anything")
    assert await waiter.wait(5)
    assert not await waiter.wait(0.01)


async def test_a_ring_ends_the_wait() -> None:
    waiter = Waiter()
    waiting = asyncio.create_task(waiter.wait(60))
    await asyncio.sleep(0)
    waiter.ring()
    waiter.ring()
    assert await asyncio.wait_for(waiting, 1)
    assert not await waiter.wait(0)


async def test_a_wait_without_a_ring_ends_in_time() -> None:
    start = asyncio.get_running_loop().time()
    assert not await Waiter().wait(0.05)
    assert 0.04 < asyncio.get_running_loop().time() - start < 1
