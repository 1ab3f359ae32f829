"""Micro-batching through losses, sinking calls and locks at random: each call lands once, in the order of its keys."""

import asyncio
import random
from collections import defaultdict

import pytest

from storage import batch
from storage.database import Lost
from storage.errors import LockTimeout, OutcomeUnknown, QueryFailed, StorageError
from tests.storage.flights import Director, Parcel, batcher, start


class Weather(Director):
    """A flight through losses, sinking calls and locks, at random."""

    chance: random.Random

    async def fly(self, lane: object, calls: object) -> list[str | StorageError]:
        await asyncio.sleep(self.chance.random() * 0.002)
        if self.chance.random() < 0.1:
            raise Lost(OSError(), sent=self.chance.random() < 0.5)
        if self.chance.random() < 0.05:
            raise LockTimeout
        outcomes = await super().fly(lane, calls)  # type: ignore[arg-type]
        return list(outcomes)


@pytest.mark.parametrize("seed", range(3))
async def test_in_any_weather_each_call_lands_once_and_in_the_order_of_its_keys(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "DEADLINE_SECONDS", 20.0)
    monkeypatch.setattr(batch, "RECONNECT_PAUSE_SECONDS", 0.01)
    weather = Weather()
    weather.chance = random.Random(seed)
    calls = batcher(weather, lanes=3, seats=5)
    parcels = [Parcel(f"{n}", tuple(weather.chance.sample("abcdef", weather.chance.randint(1, 2)))) for n in range(300)]
    weather.sinks = {f"{n}": QueryFailed("bad") for n in range(0, 300, 37)}
    tasks = []
    for parcel in parcels:
        tasks += start(calls, parcel)
        if weather.chance.random() < 0.2:
            await asyncio.sleep(weather.chance.random() * 0.003)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for n, outcome in enumerate(outcomes):  # (what was lost on the way before it sank is not known to be undone)
        assert isinstance(outcome, QueryFailed | OutcomeUnknown if n % 37 == 0 else str)
    landed = [int(name) for name, _ in weather.announced]
    assert sorted(landed) == [n for n in range(300) if n % 37]
    by_key: dict[object, list[int]] = defaultdict(list)
    for n in landed:
        for key in parcels[n].keys:
            by_key[key].append(n)
    assert all(order == sorted(order) for order in by_key.values())
    assert (len(calls), weather.aloft) == (0, 0)
