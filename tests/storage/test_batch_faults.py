"""Micro-batching when things go wrong: each call gets its own truth, in time, and keeps its place."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from storage import batch
from storage.database import Lane, Lost
from storage.errors import Conflict, LockTimeout, OutcomeUnknown, QueryFailed, StorageError, Unavailable
from tests.storage.flights import Director, Parcel, batcher, named, start

DEADLINE = 0.3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the deadlines short."""
    monkeypatch.setattr(batch, "DEADLINE_SECONDS", DEADLINE)
    monkeypatch.setattr(batch, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(batch, "RECONNECT_PAUSE_SECONDS", 0.01)


@pytest.mark.parametrize("error", [QueryFailed("bad data"), Conflict("rule")])
async def test_a_call_that_sinks_its_flight_sinks_alone(director: Director, error: StorageError) -> None:
    calls = batcher(director)
    director.sinks["b"] = error
    a, b, c = start(calls, *named("abc", "x"))
    with pytest.raises(type(error)):
        await b
    assert (await a, await c) == ("a", "c")
    again = [["b"]] if isinstance(error, Conflict) else []  # what it met may have been a moment ago
    assert director.flights == [["a", "b", "c"], ["a"], ["b"], *again, ["c"]]
    assert await calls.call(Parcel("d", ("x",))) == "d"


async def test_a_lost_connection_means_the_whole_flight_once_more(director: Director) -> None:
    calls = batcher(director)
    director.losses = [Lost(OSError(), sent=False), Lost(OSError(), sent=True)]
    assert await asyncio.gather(*start(calls, *named("ab", "x"))) == ["a", "b"]
    assert director.flights == [["a", "b"]] * 3
    assert director.announced == [("a", True), ("b", True)], "a replay that it finds was never announced"
    assert await calls.call(Parcel("c")) == "c"
    assert director.announced[-1] == ("c", False)


@pytest.mark.parametrize(
    ("writes", "sent", "expected"),
    [(True, True, OutcomeUnknown), (True, False, Unavailable), (False, True, Unavailable), (False, False, Unavailable)],
)
async def test_a_connection_that_stays_lost_is_told_truthfully_in_time(
    director: Director, monkeypatch: pytest.MonkeyPatch, writes: bool, sent: bool, expected: type[StorageError]
) -> None:
    # The last try is over well before the deadline; who is still in the air then could only be told `OutcomeUnknown`.
    monkeypatch.setattr(batch, "RECONNECT_PAUSE_SECONDS", DEADLINE / 3)
    director.writes = writes
    calls = batcher(director)
    director.losses = [
        Lost(OSError(), sent=False),
        *[Lost(OSError(), sent=sent)],
        *[Lost(OSError(), sent=False)] * 1_000,
    ]
    began = time.monotonic()
    for outcome in await asyncio.gather(*start(calls, *named("ab", "x")), return_exceptions=True):
        assert type(outcome) is expected
    assert time.monotonic() - began < DEADLINE + 0.2
    director.losses.clear()
    assert await calls.call(Parcel("c", ("x",))) == "c", "and then it goes on"


@pytest.mark.parametrize(("writes", "expected"), [(True, OutcomeUnknown), (False, Unavailable)])
async def test_who_is_overdue_is_answered_and_its_flight_still_lands(
    director: Director, writes: bool, expected: type[StorageError]
) -> None:
    director.writes = writes
    calls = batcher(director)
    director.gate.clear()
    flying = start(calls, Parcel("a", ("x",)))
    await director.has_flown()
    queued = start(calls, Parcel("b", ("x",)))
    began = time.monotonic()
    (outcome,) = await asyncio.gather(*flying, return_exceptions=True)
    assert type(outcome) is expected
    (outcome,) = await asyncio.gather(*queued, return_exceptions=True)
    assert type(outcome) is Unavailable, "it never flew: surely not done"
    assert DEADLINE - 0.05 < time.monotonic() - began < DEADLINE + 0.3
    assert calls.counters.overdue == 2
    director.gate.set()
    assert await calls.call(Parcel("c", ("x",))) == "c"
    assert director.announced == [("a", False), ("c", False)]
    assert director.flights == [["a"], ["c"]], "who was told that it was not done is not done"


async def test_a_caller_who_leaves_the_queue_is_not_carried(director: Director) -> None:
    calls = batcher(director)
    director.gate.clear()
    first = start(calls, Parcel("a"))
    await director.has_flown()
    b, c = start(calls, Parcel("b", ("x",)), Parcel("c", ("x",)))
    await asyncio.sleep(0)
    b.cancel()
    director.gate.set()
    assert await asyncio.gather(*first, c) == ["a", "c"]
    assert director.flights == [["a"], ["c"]]


async def test_a_caller_who_leaves_in_the_air_is_carried_and_announced(director: Director) -> None:
    calls = batcher(director)
    director.gate.clear()
    a, b = start(calls, *named("ab", "x"))
    await director.has_flown()
    a.cancel()
    director.gate.set()
    assert await b == "b"
    assert director.announced == [("a", False), ("b", False)]
    assert await calls.call(Parcel("c", ("x",))) == "c"


async def test_who_meets_a_lock_steps_aside_with_its_own_kind_and_in_order(director: Director) -> None:
    calls = batcher(director)
    director.sinks["a"] = LockTimeout()
    a, b, c, d = start(calls, Parcel("a", ("x",)), Parcel("b", ("x",)), Parcel("c", ("y",)), Parcel("d", ("x", "z")))
    assert await c == "c"
    for n in range(20):
        assert await calls.call(Parcel(f"free {n}", ("y",))) == f"free {n}", "the others go on"
    assert not any(task.done() for task in (a, b, d))
    director.sinks.clear()
    assert list(await asyncio.gather(a, b, d)) == ["a", "b", "d"]
    aside = [names for names, lane in zip(director.flights, director.lanes, strict=True) if lane == "side"]
    assert [name for names in aside for name in names if name != "a"] == ["c", "b", "d"]
    assert [name for name, _ in director.announced if name in "abd"] == ["a", "b", "d"]


async def test_aside_too_who_is_held_back_holds_back_who_came_after(director: Director) -> None:
    calls = batcher(director)
    director.sinks["a"] = LockTimeout()
    tasks = start(calls, Parcel("a", ("x",)), Parcel("b", ("x", "y")), Parcel("c", ("y",)))
    await director.has_flown(8)
    assert director.announced == [], "c shares y with b, which came first and shares x with a"
    director.sinks.clear()
    await asyncio.gather(*tasks)
    assert [name for name, _ in director.announced] == ["a", "b", "c"]


async def test_who_waits_for_nothing_waits_for_no_one_that_meets_a_lock(director: Director) -> None:
    calls = batcher(director)
    director.sinks = {name: LockTimeout() for name in "abc"}
    *_, free = start(calls, *named("abcd"))
    assert await free == "d"
    on_the_lane = [names for names, lane in zip(director.flights, director.lanes, strict=True) if lane == "lane 0"]
    assert on_the_lane == [["a", "b", "c", "d"]], "the lane waits for locks once, and not for each of them in turn"


@pytest.mark.parametrize("trouble", [LockTimeout(), Unavailable("statement_timeout"), QueryFailed("bad data")])
@pytest.mark.parametrize(("writes", "side"), [(True, True), (True, False), (False, False)])
async def test_what_was_lost_on_the_way_is_never_called_undone(
    director: Director, trouble: StorageError, writes: bool, side: bool
) -> None:
    director.writes = writes
    calls = batcher(director, side=side)
    director.losses = [Lost(OSError(), sent=True)]
    director.sinks["a"] = trouble
    outcomes = await asyncio.gather(*start(calls, *named("ab")), return_exceptions=True)
    assert isinstance(outcomes[0], OutcomeUnknown) is writes


async def test_a_replay_found_after_a_lock_is_announced_as_well(director: Director) -> None:
    calls = batcher(director)
    director.losses = [Lost(OSError(), sent=True)]
    director.sinks["a"] = LockTimeout()
    tasks = start(calls, *named("ab"))
    await director.has_flown(4)
    director.sinks.clear()
    await asyncio.gather(*tasks)
    assert sorted(director.announced) == [("a", True), ("b", True)]


async def test_a_lone_call_that_meets_what_is_new_is_tried_once_more(
    director: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = batcher(director)
    director.sinks["a"] = Conflict("key")
    fly = director.fly

    async def fly_once(lane: Lane, parcels: Sequence[Parcel]) -> Sequence[str | StorageError]:
        try:
            return await fly(lane, parcels)
        finally:
            director.sinks.clear()

    monkeypatch.setattr(director, "fly", fly_once)
    assert await calls.call(Parcel("a")) == "a"


async def test_a_lone_call_that_meets_a_lock_steps_aside_too(director: Director) -> None:
    calls = batcher(director)
    director.sinks["a"] = LockTimeout()
    a = start(calls, Parcel("a", ("x",)))[0]
    await director.has_flown(3)
    later = start(calls, Parcel("b", ("x",)))[0]
    assert await calls.call(Parcel("c", ("y",))) == "c"
    director.sinks.clear()
    assert list(await asyncio.gather(a, later)) == ["a", "b"]
    assert [name for name, _ in director.announced] == ["c", "a", "b"]


async def test_a_lock_that_is_never_given_up_ends_with_the_deadline(director: Director) -> None:
    calls = batcher(director)
    director.sinks["a"] = LockTimeout()
    outcomes = await asyncio.gather(*start(calls, *named("ab", "x")), return_exceptions=True)
    assert [isinstance(outcome, Unavailable | OutcomeUnknown | str) for outcome in outcomes] == [True, True]
    assert not isinstance(outcomes[0], str)
    director.sinks.clear()
    assert await calls.call(Parcel("c", ("x",))) == "c"


async def test_without_a_side_lane_a_lock_is_told_at_once(director: Director) -> None:
    calls = batcher(director, side=False)
    director.sinks["a"] = LockTimeout()
    a, b = start(calls, *named("ab"))
    with pytest.raises(LockTimeout):
        await a
    assert await b == "b"


@pytest.mark.parametrize("error", [TypeError("a fault of ours"), ValueError()])
async def test_a_flight_with_a_fault_of_ours_answers_and_frees_its_keys(director: Director, error: Exception) -> None:
    calls = batcher(director)
    director.sinks["b"] = error
    outcomes = await asyncio.gather(*start(calls, *named("abc", "x")), return_exceptions=True)
    assert isinstance(outcomes[1], StorageError)
    director.sinks.clear()
    began = time.monotonic()
    assert await calls.call(Parcel("d", ("x",))) == "d"
    assert time.monotonic() - began < DEADLINE / 2
    assert len(calls) == 0


async def test_a_bell_that_breaks_harms_no_passenger(
    director: Director, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = batcher(director)
    heard: list[str] = []

    def landed(call: Parcel, outcome: str, *, again: bool) -> None:
        if call.name == "a":
            raise RuntimeError("the bell broke")
        heard.append(call.name)

    monkeypatch.setattr(director, "landed", landed)
    assert await asyncio.gather(*start(calls, *named("abc", "x"))) == ["a", "b", "c"]
    assert heard == ["b", "c"]
    assert await calls.call(Parcel("d", ("x",))) == "d"
    assert "the bell broke" in caplog.text


async def test_a_queue_that_is_too_long_says_so_at_once(director: Director, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "QUEUE_CALLS", 3)
    calls = batcher(director)
    director.gate.clear()
    first = start(calls, Parcel("a"))
    await director.has_flown()
    rest = start(calls, *named("bcd"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await calls.call(Parcel("e"))
    director.gate.set()
    assert await asyncio.gather(*first, *rest) == ["a", "b", "c", "d"]
    assert calls.counters.refused == 1
