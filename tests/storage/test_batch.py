"""Micro-batching, with flights that a test directs: who travels with whom, and what each gets when things go wrong."""

import asyncio

import pytest

from storage.errors import Conflict
from tests.storage.flights import Director, Parcel, batcher, named, start


async def test_a_lone_call_goes_alone_and_at_once(director: Director) -> None:
    calls = batcher(director)
    task = asyncio.ensure_future(calls.call(Parcel("a")))
    for _ in range(3):  # turns of the loop, no time
        await asyncio.sleep(0)
    assert director.flights == [["a"]]
    assert await task == "a"
    assert (len(calls), calls.counters.calls, calls.counters.flights) == (0, 1, 1)


async def test_who_arrives_together_travels_together(director: Director) -> None:
    calls = batcher(director)
    assert await asyncio.gather(*start(calls, *named("abc"))) == ["a", "b", "c"]
    assert director.flights == [["a", "b", "c"]]


async def test_who_arrives_while_one_is_in_the_air_travels_in_the_next(director: Director) -> None:
    calls = batcher(director)
    director.gate.clear()
    first = start(calls, Parcel("a"))
    await director.has_flown()
    rest = start(calls, *named("bcd"))
    director.gate.set()
    await asyncio.gather(*first, *rest)
    assert director.flights == [["a"], ["b", "c", "d"]]


async def test_a_flight_has_so_many_seats(director: Director) -> None:
    calls = batcher(director, seats=3)
    await asyncio.gather(*start(calls, *named("abcdefgh")))
    assert director.flights == [["a", "b", "c"], ["d", "e", "f"], ["g", "h"]]


async def test_calls_of_a_key_fly_in_order_and_never_in_two_flights_at_once(director: Director) -> None:
    calls = batcher(director, lanes=2)
    director.gate.clear()
    first = start(calls, Parcel("a", ("x",)))
    await director.has_flown()
    rest = start(calls, Parcel("b", ("x",)), Parcel("c", ("y",)), Parcel("d", ("x",)))
    await director.has_flown(2)
    assert director.flights == [["a"], ["c"]], "who shares the key waits, others do not"
    director.gate.set()
    await asyncio.gather(*first, *rest)
    assert director.flights[2:] == [["b", "d"]], "any number of one key may travel together, in order"


async def test_who_is_held_back_holds_back_who_came_after(director: Director) -> None:
    calls = batcher(director, lanes=2)
    director.gate.clear()
    first = start(calls, Parcel("a", ("x",)))
    await director.has_flown()
    rest = start(calls, Parcel("b", ("x", "y")), Parcel("c", ("y",)), Parcel("d", ("z",)))
    await director.has_flown(2)
    assert director.flights == [["a"], ["d"]], "c must not overtake b, which came first and shares y"
    director.gate.set()
    await asyncio.gather(*first, *rest)
    assert director.flights[2:] == [["b", "c"]]


async def test_one_refusal_harms_no_other(director: Director) -> None:
    calls = batcher(director)
    director.refuses["b"] = Conflict("rule")
    a, b, c = start(calls, *named("abc"))
    with pytest.raises(Conflict):
        await b
    assert (await a, await c) == ("a", "c")
    assert director.announced == [("a", False), ("c", False)]
    assert len(director.flights) == 1


async def test_closing_waits_for_what_is_in_the_air(director: Director) -> None:
    calls = batcher(director, lanes=2)
    director.gate.clear()
    (a,) = start(calls, Parcel("a"))
    await director.has_flown()
    closing = asyncio.ensure_future(calls.close())
    await asyncio.sleep(0)
    assert not closing.done()
    director.gate.set()
    await closing
    assert await a == "a"
    assert [lane.closed for lane in director.fleet] == [True, True, True]
