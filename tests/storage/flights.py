"""A flight that a test directs: which calls it sinks on, loses, or is held with."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from storage.batch import Batcher
from storage.database import Lane, Lost
from storage.errors import StorageError
from tests.until import until


@dataclass(frozen=True, eq=False)
class Parcel:
    """A call: its name is its outcome."""

    name: str
    keys: tuple[Hashable, ...] = ()


@dataclass
class FakeLane:
    """A lane to nowhere."""

    name: str
    closed: bool = False

    async def close(self) -> None:
        self.closed = True


@dataclass
class Director:
    """A flight that does what the test says, and keeps a log of itself."""

    writes: bool = True
    # Whole flights fail while one of these is aboard.
    sinks: dict[str, Exception] = field(default_factory=dict)
    # What a single call is refused with.
    refuses: dict[str, StorageError] = field(default_factory=dict)
    # How the next flights are lost.
    losses: list[Lost] = field(default_factory=list)
    # Closed: flights wait in the air.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    flights: list[list[str]] = field(default_factory=list)
    lanes: list[str] = field(default_factory=list)
    announced: list[tuple[str, bool]] = field(default_factory=list)
    aloft: int = 0
    fleet: list[FakeLane] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def keys(self, call: Parcel) -> Sequence[Hashable]:
        return call.keys

    async def fly(self, lane: Lane, calls: Sequence[Parcel]) -> Sequence[str | StorageError]:
        self.flights.append([call.name for call in calls])
        self.lanes.append(cast(Any, lane).name)
        self.aloft += 1
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.aloft -= 1
        if self.losses:
            raise self.losses.pop(0)
        for call in calls:
            if call.name in self.sinks:
                raise self.sinks[call.name]
        return [self.refuses.get(call.name, call.name) for call in calls]

    def landed(self, call: Parcel, outcome: str, *, again: bool) -> None:
        self.announced.append((call.name, again))

    async def has_flown(self, count: int = 1) -> None:
        """Wait until so many flights have begun."""

        async def have() -> bool:
            return len(self.flights) >= count

        await until(have)


def batcher(director: Director, lanes: int = 1, seats: int = 8, side: bool = True) -> Batcher[Parcel, str]:
    """Give a batcher over lanes to nowhere."""
    director.fleet = [FakeLane(f"lane {n}") for n in range(lanes)] + ([FakeLane("side")] if side else [])
    made = cast(list[Lane], director.fleet)
    return Batcher(director, made[:lanes], seats=seats, side=made[lanes] if side else None)


def start(calls: Batcher[Parcel, str], *parcels: Parcel) -> list[asyncio.Task[str]]:
    """Hand calls in, in this order."""
    return [asyncio.ensure_future(calls.call(parcel)) for parcel in parcels]


def named(names: str, *keys: str) -> list[Parcel]:
    """Make a call of each letter."""
    return [Parcel(name, keys) for name in names]
