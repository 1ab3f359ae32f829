"""Real servers for the tests: PostgreSQL and Valkey in a thread of their own, replicas in the test's loop."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from migrations.run import migrate
from server.app import build
from server.context import Context
from server.embedded.postgres import Postgres
from server.embedded.valkey import Valkey
from server.routes.door import CONTEXT
from server.settings import Settings

T = TypeVar("T")


class Servers:
    """A migrated PostgreSQL and a Valkey that outlive the loops of single tests."""

    def __init__(self, directory: Path) -> None:
        self.postgres = Postgres(directory)
        self.valkey = Valkey(directory)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.valkey.url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the servers' own loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def also(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the servers' own loop while the test's goes on."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def start(self) -> "Servers":
        self._thread.start()
        self.run(self._start())
        migrate(self.database_url)
        return self

    async def _start(self) -> None:
        await asyncio.gather(self.postgres.start(), self.valkey.start())

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _stop(self) -> None:
        await asyncio.gather(self.postgres.stop(), self.valkey.stop())


class Replica:
    """One replica in the test's own loop, on a free loopback port."""

    def __init__(self, settings: Settings) -> None:
        self.app = build(settings)
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1)
        self.url = ""

    @property
    def context(self) -> Context:
        return self.app[CONTEXT]

    async def start(self) -> "Replica":
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def stop(self) -> None:
        self.context.held.drain()
        await self._runner.cleanup()
