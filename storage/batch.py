"""Micro-batching: calls that arrive while a flight is in the air travel together in the next.

At low load a call goes alone and waits for nobody; at high load one round trip carries many. Each call gets an
outcome of its own, so one refusal harms no other. The batcher knows no SQL: a `Flight`, defined beside its SQL, does.

A call passes through these states:

    queued ──board──> in the air ──land──> answered
       │                  │
       └─deadline: Unavailable (surely not done)
                          └─deadline: OutcomeUnknown for writes; the flight still lands, and is announced

Calls that share a *key* (a session, a payer) fly in order of arrival: while one is in the air, with its retries, no
other boards, and who waits holds back who came after it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Hashable, Sequence
from typing import Any, Generic, TypeVar

from storage.database import DEADLINE_SECONDS, RECONNECT_PAUSE_SECONDS, Lane, Lost
from storage.errors import Conflict, LockTimeout, OutcomeUnknown, QueryFailed, StorageError, Unavailable
from storage.flight import Counters, Flight, Ticket

log = logging.getLogger(__name__)

C = TypeVar("C")
R = TypeVar("R")

# How often overdue calls are looked for: answers come at most this much after the deadline.
SWEEP_SECONDS = 0.25
# More calls than this waiting at once means seconds of work ahead; who comes then is told so at once.
QUEUE_CALLS = 5_000


class Batcher(Generic[C, R]):
    """Carries calls in flights over a few lanes.

    Args:
        flight: what is carried and how.
        lanes: one flight each is in the air at a time.
        side: the lane of those who wait for a lock that somebody holds; without it they fail at once. Its own
            `lock_timeout` is short, for they are tried there in turn.
        seats: the most calls of a flight.
    """

    def __init__(self, flight: Flight[C, R], lanes: Sequence[Lane], *, seats: int, side: Lane | None = None) -> None:
        self.counters = Counters()
        self._flight = flight
        self._lanes = list(lanes)
        self._free = list(lanes)
        self._seats = seats
        self._side = side
        self._stuck: list[Ticket[C, R]] = []
        self._queue: deque[Ticket[C, R]] = deque()
        self._aboard: set[Ticket[C, R]] = set()
        self._in_the_air: dict[Hashable, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._boarding = False
        self._sweeping = False
        self._side_flying = False

    def __len__(self) -> int:
        """How many calls wait or fly."""
        return len(self._queue) + len(self._aboard)

    async def call(self, call: C) -> R:
        """Carry one call and give its outcome.

        Raises:
            Unavailable: surely not done.
            OutcomeUnknown: a write whose outcome could not be learned in time.
            StorageError: what PostgreSQL refused.
        """
        if len(self._queue) >= QUEUE_CALLS:
            self.counters.refused += 1
            raise Unavailable("Too many calls are waiting.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._queue.append(Ticket(call, future, deadline, self._flight.keys(call)))
        self.counters.calls += 1
        if self._free and not self._boarding:
            # At the end of this turn of the loop: who arrived in the same turn travels along, and nobody waits.
            self._boarding = True
            loop.call_soon(self._board)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_SECONDS, self._sweep)
        return await future

    async def close(self) -> None:
        """Wait for what is in the air, then close the lanes."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for lane in (*self._lanes, *([self._side] if self._side else [])):
            await lane.close()

    def _board(self) -> None:
        self._boarding = False
        while self._free and self._queue:
            tickets = self._next_flight()
            if not tickets:
                return
            self._start(self._fly(self._free.pop(), tickets))

    def _next_flight(self) -> list[Ticket[C, R]]:
        """Take from the queue, in order of arrival, whose keys are free; who is held back holds back its keys."""
        taken: list[Ticket[C, R]] = []
        left: list[Ticket[C, R]] = []
        waiting: set[Hashable] = set()
        while self._queue and len(taken) < self._seats:
            ticket = self._queue.popleft()
            if ticket.future.done():
                continue
            if any(key in self._in_the_air or key in waiting for key in ticket.keys):
                waiting.update(ticket.keys)
                left.append(ticket)
            else:
                taken.append(ticket)
        self._queue.extendleft(reversed(left))
        for ticket in taken:
            for key in ticket.keys:
                self._in_the_air[key] = self._in_the_air.get(key, 0) + 1
        self._aboard.update(taken)
        return taken

    def _start(self, flight: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(flight)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, lane: Lane, tickets: list[Ticket[C, R]]) -> None:
        try:
            await self._carry(lane, tickets)
        finally:
            self._free.append(lane)
            self._board()

    async def _carry(self, lane: Lane, tickets: list[Ticket[C, R]]) -> None:
        try:
            outcomes = await self._attempt(lane, tickets)
        except (Unavailable, OutcomeUnknown) as error:
            self._give_up(tickets, error)
        except StorageError as error:
            if isinstance(error, LockTimeout) and self._side is not None:
                self._step_aside(tickets)  # all of them: who waits for nothing must not wait here for those who do
            elif len(tickets) > 1:
                await self._one_by_one(lane, tickets)
            else:
                self._give_up(tickets, error)
        else:
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                self._land(ticket, outcome)

    async def _attempt(self, lane: Lane, tickets: Sequence[Ticket[C, R]]) -> Sequence[R | StorageError]:
        """Fly, and again when the connection was lost, until the deadline."""
        calls = [ticket.call for ticket in tickets]
        until = time.monotonic() + DEADLINE_SECONDS - RECONNECT_PAUSE_SECONDS
        met = False
        while True:
            self.counters.flights += 1
            try:
                outcomes = await self._flight.fly(lane, calls)
                if len(outcomes) != len(calls):
                    raise ValueError(f"{len(calls)} calls have {len(outcomes)} outcomes")
                return outcomes
            except Lost as error:
                for ticket in tickets:
                    ticket.sent = ticket.sent or error.sent
                if time.monotonic() >= until:
                    raise Unavailable(str(error)) from error
            except Conflict:
                if met or len(tickets) > 1:
                    raise
                met = True  # and a second try sees what it met: a key that was used elsewhere a moment ago, say
                self.counters.retries += 1
                continue
            except StorageError:
                raise
            except Exception as error:  # a fault of ours: its calls go one by one, and all keys become free again
                log.exception("a flight of %d failed", len(calls))
                unknown = self._flight.writes and len(calls) == 1  # (PostgreSQL may have done its part)
                raise (OutcomeUnknown if unknown else QueryFailed)(type(error).__name__) from error
            self.counters.retries += 1
            await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    async def _one_by_one(self, lane: Lane, tickets: list[Ticket[C, R]]) -> None:
        """One call sank the flight: each goes alone; who came after one that stepped aside follows it there."""
        self.counters.retries += 1
        for ticket in tickets:
            stuck = {key for other in self._stuck for key in other.keys}
            if stuck.intersection(ticket.keys):
                self._step_aside([ticket])
            else:
                await self._carry(lane, [ticket])

    def _step_aside(self, tickets: Sequence[Ticket[C, R]]) -> None:
        self._stuck += tickets
        if not self._side_flying:
            self._side_flying = True
            self._start(self._fly_aside())

    async def _fly_aside(self) -> None:
        """Try those who wait for a lock in turn, until each is through or overdue; nobody overtakes its own kind."""
        while self._stuck:
            held: set[Hashable] = set()
            for ticket in list(self._stuck):
                if not held.isdisjoint(ticket.keys) or not await self._try_aside(ticket):
                    held.update(ticket.keys)  # who is held back holds back who came after it, here too
        self._side_flying = False

    async def _try_aside(self, ticket: Ticket[C, R]) -> bool:
        """Give whether the call is through, one way or another."""
        assert self._side is not None
        try:
            if time.monotonic() >= ticket.deadline:
                raise Unavailable("Its rows stayed locked.")
            (outcome,) = await self._attempt(self._side, [ticket])
        except LockTimeout:
            return False
        except StorageError as error:
            self._stuck.remove(ticket)
            self._give_up([ticket], error)
        else:
            self._stuck.remove(ticket)
            self._land(ticket, outcome)
        self._board()
        return True

    def _land(self, ticket: Ticket[C, R], outcome: R | StorageError) -> None:
        self._clear(ticket)
        if isinstance(outcome, StorageError):
            ticket.fail(outcome)
            return
        try:
            self._flight.landed(ticket.call, outcome, again=ticket.sent)
        except Exception:  # what is in the book is done, whoever hears of it
            log.exception("a landing could not be announced")
        if not ticket.future.done():
            ticket.future.set_result(outcome)

    def _give_up(self, tickets: Sequence[Ticket[C, R]], error: StorageError) -> None:
        for ticket in tickets:
            self._clear(ticket)
            # What was lost on an earlier try may be done, whatever a later one says.
            unknown = ticket.sent and self._flight.writes
            ticket.fail(OutcomeUnknown(str(error)) if unknown else error)

    def _clear(self, ticket: Ticket[C, R]) -> None:
        self._aboard.discard(ticket)
        for key in ticket.keys:
            left = self._in_the_air[key] - 1
            if left:
                self._in_the_air[key] = left
            else:
                del self._in_the_air[key]

    def _sweep(self) -> None:
        """Answer who is overdue: who still waits was surely not carried; of who flies we cannot know yet."""
        now = time.monotonic()
        while self._queue and (self._queue[0].deadline <= now or self._queue[0].future.done()):
            self._overdue(self._queue.popleft(), Unavailable("No flight was free in time."))
        for ticket in [ticket for ticket in self._aboard if ticket.deadline <= now]:
            unknown = self._flight.writes
            self._overdue(ticket, (OutcomeUnknown if unknown else Unavailable)("PostgreSQL did not answer in time."))
        self._sweeping = bool(self._queue or self._aboard)
        if self._sweeping:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _overdue(self, ticket: Ticket[C, R], error: StorageError) -> None:
        if not ticket.future.done():
            self.counters.overdue += 1
            ticket.fail(error)
