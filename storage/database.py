"""PostgreSQL's door: a pool for single questions, lanes for flights, the driver's errors made ours.

Every wait here is bounded. A connection that times out is terminated, for what it still does is nobody's business;
the next call opens a new one. So PostgreSQL may restart, freeze or fail over, and the pool comes back by itself.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from storage.errors import GONE, OutcomeUnknown, Unavailable, gone, translate, wrote

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record

# A call gets its answer within this time, whatever happens: design.md promises 503 within 5 s, the rest is slack.
DEADLINE_SECONDS = 4.0
# A single round trip: longer than statement_timeout, so that a living server speaks first.
ROUND_TRIP_SECONDS = 3.3
CONNECT_SECONDS = 2.0
# Between attempts to reach a server that refuses: a restart takes about a second.
RECONNECT_PAUSE_SECONDS = 0.1

SERVER_SETTINGS = {
    "lock_timeout": "1s",
    "statement_timeout": "3s",
    # A replica that stops between BEGIN and COMMIT must not hold its rows for ever.
    "idle_in_transaction_session_timeout": "2s",
    # Else a call that we gave up commits long after its 503.
    "client_connection_check_interval": "500ms",
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Our queries take microseconds; compiling them would take milliseconds.
    "jit": "off",
}


def sqlalchemy_url(url: str) -> str:
    """Give a `postgresql://` URL the form by which SQLAlchemy finds asyncpg."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="postgresql+asyncpg")) if parts.netloc else _socket_url(url)


def _socket_url(url: str) -> str:
    """`postgresql://postgres@/concierge?host=/run` has a netloc; `postgresql:///name?host=…` has none."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


class Counters:
    """What `/metrics` reads at scrape."""

    __slots__ = ("connects", "losses", "queries")

    def __init__(self) -> None:
        self.connects = 0
        self.losses = 0
        self.queries = 0


class Lost(Exception):
    """The connection is gone. `sent` says whether the server may have begun the work."""

    def __init__(self, cause: BaseException, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.sent = sent


async def _connect(url: str, setup: str, name: str) -> Connection:
    connection: Connection = await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        server_settings={**SERVER_SETTINGS, "application_name": name},
        target_session_attrs="read-write",
        max_cached_statement_lifetime=0,
    )
    try:
        await prepare_connection(connection, setup)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def prepare_connection(connection: Any, setup: str) -> None:
    """Teach a new connection JSONB and the house's `pg_temp` functions."""
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog", format="text")
    if setup:
        await connection.execute(setup, timeout=CONNECT_SECONDS)


class Lane:
    """One connection for one flight at a time: opened when first needed, its statements prepared once.

    A connection of its own is faster than the pool for a batcher, and a lost one harms no other lane.
    """

    def __init__(self, url: str, setup: str, name: str, counters: Counters) -> None:
        self._url = url
        self._setup = setup
        self._name = name
        self._counters = counters
        self._connection: Connection | None = None
        self._prepared: dict[str, Any] = {}

    async def fetch(self, sql: str, *arguments: object) -> list[Row]:
        """Run a prepared statement.

        Raises:
            Lost: the connection could not be had, or was lost or too slow (and is then terminated).
            StorageError: PostgreSQL refused; nothing was done and the lane is usable.
        """
        statement = await self._statement(sql)
        self._counters.queries += 1
        try:
            async with asyncio.timeout(ROUND_TRIP_SECONDS):
                rows: list[Row] = await statement.fetch(*arguments)
        except GONE as error:
            if isinstance(error, ValueError):  # an argument that cannot be encoded never left the process
                raise translate(error) from error
            self.terminate()
            raise Lost(error, sent=True) from error
        except asyncpg.PostgresError as error:
            raise translate(error) from error
        except asyncio.CancelledError:  # the connection is in the middle of something
            self.terminate()
            raise
        return rows

    async def _statement(self, sql: str) -> Any:
        statement = self._prepared.get(sql)
        if statement is not None and self._connection is not None and not self._connection.is_closed():
            return statement
        try:
            if self._connection is None or self._connection.is_closed():
                self._prepared.clear()
                self._connection = await _connect(self._url, self._setup, self._name)
                self._counters.connects += 1
            async with asyncio.timeout(CONNECT_SECONDS):
                statement = await self._connection.prepare(sql)
        except (*GONE, asyncpg.PostgresError) as error:
            self.terminate()
            raise Lost(error, sent=False) from error
        self._prepared[sql] = statement
        return statement

    def terminate(self) -> None:
        """Drop the connection at once, without a word to the server."""
        if self._connection is not None:
            self._counters.losses += 1
            self._connection.terminate()
            self._connection = None
        self._prepared.clear()

    async def close(self) -> None:
        """Part from the server in an orderly way; bounded."""
        connection, self._connection = self._connection, None
        self._prepared.clear()
        if connection is not None:
            try:
                await connection.close(timeout=1)
            except GONE:
                connection.terminate()


async def _keep(_connection: object) -> None:
    """Reset nothing between uses: no query of ours leaves settings, listeners or session locks behind."""


class Database:
    """Everything of PostgreSQL that one replica holds.

    Args:
        url: `postgresql://…`, as asyncpg understands it.
        setup: SQL run on each new connection; it creates the house's `pg_temp` functions.
        pool_size: connections for single questions.
        name: `application_name`, by which an operator knows the replica in `pg_stat_activity`.
    """

    def __init__(self, url: str, setup: str = "", *, pool_size: int = 8, name: str = "concierge") -> None:
        self.url = url
        self.setup = setup
        self.name = name
        self.counters = Counters()
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Prepare the pool without connecting, so that a replica starts while PostgreSQL is away."""
        self._pool = asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=self._pool_size,
            max_queries=0x7FFFFFFF,  # recycling a healthy connection is only a latency blip
            max_inactive_connection_lifetime=300,
            max_cached_statement_lifetime=0,
            reset=_keep,
            init=lambda connection: prepare_connection(connection, self.setup),
            timeout=CONNECT_SECONDS,
            server_settings={**SERVER_SETTINGS, "application_name": self.name},
            target_session_attrs="read-write",
        )
        await self._pool

    async def close(self) -> None:
        """Close the pool; bounded."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), 2)
        except GONE:
            pool.terminate()

    async def run(
        self, work: Callable[[Any], Awaitable[T]], *, writes: bool = False, deadline: float = DEADLINE_SECONDS
    ) -> T:
        """Run `work` on a pooled connection, within `deadline` seconds.

        Args:
            work: gets a connection; its statements are prepared and cached by asyncpg.
            writes: whether a loss in the middle leaves it unknown if something was done.

        Raises:
            Unavailable: PostgreSQL is away, surely nothing was done.
            OutcomeUnknown: PostgreSQL was lost in the middle of a write.
            StorageError: PostgreSQL refused.
        """
        until = time.monotonic() + deadline
        connection = await self._acquire(until)
        lost = OutcomeUnknown if writes else gone()
        try:
            async with asyncio.timeout(max(0.1, until - time.monotonic())):
                answer = await work(connection)
                wrote.set(writes or wrote.get())
                return answer
        except GONE as error:
            if isinstance(error, ValueError):
                raise translate(error) from error
            self._drop(connection)
            raise lost(str(error)) from error
        except asyncpg.PostgresError as error:
            raise translate(error) from error
        except asyncio.CancelledError:
            self._drop(connection)
            raise
        finally:
            await self._release(connection)

    async def _acquire(self, until: float) -> Any:
        if self._pool is None:
            raise Unavailable("The database is closed.")
        while True:
            try:
                async with asyncio.timeout(max(0.1, until - time.monotonic())):
                    return await self._pool.acquire()
            except TimeoutError as error:
                raise gone()("PostgreSQL gave no connection in time.") from error
            except (*GONE, asyncpg.PostgresError) as error:
                if time.monotonic() + RECONNECT_PAUSE_SECONDS > until - CONNECT_SECONDS:
                    raise gone()(str(error)) from error
                await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    def _drop(self, connection: Any) -> None:
        self.counters.losses += 1
        connection.terminate()

    async def _release(self, connection: Any) -> None:
        if self._pool is None:
            return
        try:
            await self._pool.release(connection, timeout=1)
        except (*GONE, asyncpg.PostgresError):
            self.counters.losses += 1

    async def fetch(self, sql: str, *arguments: object, writes: bool = False) -> list[Row]:
        """Run one statement and give its rows."""
        self.counters.queries += 1
        return await self.run(lambda connection: connection.fetch(sql, *arguments), writes=writes)

    async def fetchrow(self, sql: str, *arguments: object, writes: bool = False) -> Row | None:
        """Run one statement and give its first row."""
        self.counters.queries += 1
        return await self.run(lambda connection: connection.fetchrow(sql, *arguments), writes=writes)

    async def fetchval(self, sql: str, *arguments: object, writes: bool = False) -> Any:
        """Run one statement and give the first column of its first row."""
        self.counters.queries += 1
        return await self.run(lambda connection: connection.fetchval(sql, *arguments), writes=writes)
