"""A replica as a process of its own, to be killed."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from server.embedded.places import HOUSE
from server.embedded.replica import answers
from tests.until import until


class ReplicaProcess:
    """`./concierge serve` on a free loopback port."""

    def __init__(self, log: Path, database_url: str, redis_url: str, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(HOUSE),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "CONCIERGE_PORT": str(self.port),
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> "ReplicaProcess":
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "server", "serve", env=self._environment, stdout=log, stderr=log
            )
        await until(lambda: answers(self.port, "/healthz"), 15)
        return self

    async def end(self, name: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait until the process is gone."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(name)
        async with asyncio.timeout(12):
            await self._process.wait()
