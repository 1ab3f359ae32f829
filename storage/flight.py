"""What travels with a batcher: the calls' tickets, and what a batcher must know of a kind of calls."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from storage.database import Lane
from storage.errors import StorageError

C = TypeVar("C")
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)


class Flight(Protocol[C_contra, R]):
    """What a batcher needs to know of its calls."""

    writes: bool

    def keys(self, call: C_contra) -> Sequence[Hashable]:
        """Name what must not be in the air twice."""
        ...

    async def fly(self, lane: Lane, calls: Sequence[C_contra]) -> Sequence[R | StorageError]:
        """Carry the calls in one round trip; one outcome for each, in their order."""
        ...

    def landed(self, call: C_contra, outcome: R, *, again: bool) -> None:
        """Hear of each outcome as it lands, even when its caller is gone. `again`: an earlier try was lost."""
        ...


class Ticket(Generic[C, R]):
    """One call on its way."""

    __slots__ = ("call", "deadline", "future", "keys", "sent")

    def __init__(self, call: C, future: "asyncio.Future[R]", deadline: float, keys: Sequence[Hashable]) -> None:
        self.call = call
        self.future = future
        self.deadline = deadline
        self.keys = keys
        self.sent = False  # whether it was lost on the way: then PostgreSQL may have done it

    def fail(self, error: StorageError) -> None:
        """Answer with an error, if nobody has answered yet."""
        if not self.future.done():
            self.future.set_exception(error)


class Counters:
    """What `/metrics` reads at scrape."""

    __slots__ = ("calls", "flights", "overdue", "refused", "retries")

    def __init__(self) -> None:
        self.calls = 0
        self.flights = 0
        self.retries = 0
        self.overdue = 0
        self.refused = 0
