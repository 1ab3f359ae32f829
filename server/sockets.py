"""The websockets that are open on this replica: who holds them, and how to part with them."""

import asyncio
import random
from collections.abc import Iterator
from typing import Protocol

from server.errors import Close

# A person's phones, tablets and tabs; beyond that it is a loop that forgets to close.
SOCKETS_OF_AN_ACCOUNT = 20
# Closing this many at a time keeps the event loop free for the calls that still finish.
SLICE = 100
SLICE_SECONDS = 0.1
# How far apart clients come back: 2 ms each, so that the other replicas see some 500 handshakes a second.
SPREAD_FIRST_MS, SPREAD_EACH_MS, SPREAD_MOST_MS = 500, 2, 5_000


class Socket(Protocol):
    """One open websocket."""

    account_id: int
    token_hash: bytes

    def part(self, code: Close) -> None:
        """Close it with a code once what it was told to do is done; never waits."""

    def come_back(self, after_ms: int) -> None:
        """Ask its client to come back elsewhere."""


class Sockets:
    """The open sockets by account."""

    def __init__(self) -> None:
        self._by_account: dict[int, set[Socket]] = {}

    def __len__(self) -> int:
        """How many sockets are open."""
        return sum(map(len, self._by_account.values()))

    def __iter__(self) -> Iterator[Socket]:
        """Give every open socket, as of now."""
        return iter([socket for sockets in self._by_account.values() for socket in sockets])

    def has_room(self, account_id: int) -> bool:
        """Whether an account may open one more."""
        return len(self._by_account.get(account_id, ())) < SOCKETS_OF_AN_ACCOUNT

    def add(self, socket: Socket) -> None:
        """Remember an open socket."""
        self._by_account.setdefault(socket.account_id, set()).add(socket)

    def remove(self, socket: Socket) -> None:
        """Forget one."""
        sockets = self._by_account.get(socket.account_id, set())
        sockets.discard(socket)
        if not sockets:
            self._by_account.pop(socket.account_id, None)

    async def drain(self) -> None:
        """Ask everybody to come back elsewhere, at different moments; then close in slices."""
        leaving = list(self)
        spread = min(SPREAD_MOST_MS, SPREAD_FIRST_MS + SPREAD_EACH_MS * len(leaving))
        for socket in leaving:
            socket.come_back(random.randrange(spread))
        random.shuffle(leaving)
        for start in range(0, len(leaving), SLICE):
            await asyncio.sleep(SLICE_SECONDS)
            for socket in leaving[start : start + SLICE]:
                socket.part(Close.GOING_AWAY)
