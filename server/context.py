"""The few things a rule may need, in one frozen object that the app builds once."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from channels import Broker, Presence, Waiter
from server.auth import Passwords, Tokens
from server.limits import Limits
from server.metrics import Metrics
from server.recent import Seen, Tellings
from server.settings import Settings
from server.sockets import Sockets
from storage.book import Book

log = logging.getLogger(__name__)


class Tasks:
    """Tasks that nobody awaits, owned by the app and waited for when it drains."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Begin something; a failure is logged, for there is nobody else to tell."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("task %s failed: %s: %s", task.get_name(), type(error).__name__, error)

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, then cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()


class Held:
    """The calls that are held until something happens, counted by account; a drain lets them all go."""

    def __init__(self) -> None:
        self.draining = False
        self._waiters: dict[int, dict[Waiter, Callable[[], bool]]] = {}

    def __len__(self) -> int:
        """How many calls are held."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def add(self, account_id: int, waiter: Waiter, most: int, is_gone: Callable[[], bool]) -> bool:
        """Hold one more call of an account, unless it has `most` already or the replica drains.

        Args:
            is_gone: whether the call's client has hung up; such a call makes room for the next.
        """
        waiters = self._waiters.setdefault(account_id, {})
        if len(waiters) >= most:
            for left in [held for held, gone in waiters.items() if gone()]:
                del waiters[left]
                left.ring()
        if self.draining or len(waiters) >= most:
            return False
        waiters[waiter] = is_gone
        return True

    def remove(self, account_id: int, waiter: Waiter) -> None:
        """Hold it no longer."""
        waiters = self._waiters.get(account_id, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(account_id, None)

    def drain(self) -> None:
        """Let everybody go, and hold nobody any more."""
        self.draining = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.ring()


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may need."""

    settings: Settings
    book: Book
    broker: Broker
    presence: Presence
    limits: Limits
    passwords: Passwords
    tokens: Tokens
    tasks: Tasks
    held: Held
    sockets: Sockets
    seen: Seen
    told: Tellings
    metrics: Metrics
