"""One connection to Redis, as thin as can be over redis-py's own connection and parser.

redis-py's `PubSub` is not used: it reconnects behind one's back, counts no pongs, may read from two tasks, and builds
a dict and awaits two hooks for every message. Its `Connection` is: the URL, TLS, login and RESP are its business.
Here one task reads and one task writes; nothing else touches the connection, and it is never connected a second time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from redis.asyncio.connection import AbstractConnection, ConnectionPool

# Reaching a Redis at another site and logging in takes well under a second.
CONNECT_SECONDS = 1.0
READ_SIZE_BYTES = 65536

Pool = TypeVar("Pool", bound=ConnectionPool)

# "No timeout" in redis-py's words: the watchdog decides how long silence may last.
FOREVER = float("inf")


def make_pool(kind: type[Pool], url: str, **ours: Any) -> Pool:
    """Make a pool of connections that behave as we need, whatever the URL's query says; ValueError for a bad URL.

    RESP2, because in RESP3 pub/sub messages take a detour by a push handler, and redis-py then asks every server for
    maintenance notices.
    """
    pool = kind.from_url(url, protocol=2)
    if pool.connection_kwargs["protocol"] != 2:
        raise ValueError("the Redis URL must not choose a protocol")
    # Set after the URL is read, because what its query says would win otherwise.
    pool.connection_kwargs.update(
        decode_responses=False,
        driver_info=None,  # two round trips at every connect, for a name
        socket_connect_timeout=CONNECT_SECONDS,
        # None: whoever calls sets the bounds. Otherwise redis-py sends by `asyncio.wait_for`, which starts a task for
        # each send and, before Python 3.12, may swallow a cancellation, and our bound with it.
        socket_timeout=None,
        socket_read_size=READ_SIZE_BYTES,
        **ours,
    )
    return pool


class Link:
    """One connection. Errors are redis-py's own (`redis.RedisError`) and OSError."""

    def __init__(self, url: str) -> None:
        """Prepare a link; a URL that redis-py cannot read raises ValueError."""
        pool = make_pool(ConnectionPool, url)
        self._connection = cast("AbstractConnection", pool.make_connection())  # type: ignore[no-untyped-call]

    async def connect(self) -> None:
        """Connect and log in, within a bound: a frozen Redis lets one connect, but not log in."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._connection.connect()  # type: ignore[no-untyped-call]

    async def send(self, commands: Iterable[tuple[str | bytes, ...]]) -> None:
        """Write commands in one go; waits only when the socket is full."""
        packed = self._connection.pack_commands(commands)
        await self._connection.send_packed_command(packed, check_health=False)

    async def read(self) -> Any:
        """Wait for the next reply, however long; an error reply is raised.

        Bytes, integers, None, or lists of these.
        """
        return await self._connection.read_response(timeout=FOREVER, disconnect_on_error=False)

    async def close(self) -> None:
        """Close without waiting for the other side, which may be frozen."""
        await self._connection.disconnect(nowait=True)
