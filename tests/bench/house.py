"""What the benchmarks measure: PostgreSQL, Valkey and one replica of their own, and a bare aiohttp beside it."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from migrations.run import migrate
from server.commands.seed import Seeded, seed
from server.embedded.part import Part
from server.embedded.places import HOUSE
from server.embedded.postgres import BINARIES, Postgres
from server.embedded.replica import answers, replica_part
from server.embedded.valkey import Valkey
from storage.book import Book

USERS = 1_000
STAFF = 10
CREDITS = 100_000_000


def free_port() -> int:
    """Give a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class House:
    """Where everything is."""

    directory: Path
    postgres: Postgres
    replica: Part
    replica_port: int
    bare: Part
    bare_port: int
    users: list[Seeded]
    staff: list[Seeded]

    async def psql(self, sql: str) -> None:
        """Run a script."""
        await tool("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, self.postgres.url)


async def tool(name: str, *arguments: str) -> str:
    """Run one of PostgreSQL's tools and give what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(BINARIES / name), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{name} failed: {err.decode()}")
    return out.decode()


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """Start everything, and stop it."""
    with tempfile.TemporaryDirectory(prefix="concierge-bench-") as name:
        directory = Path(name)
        postgres, valkey = Postgres(directory), Valkey(directory)
        parts: list[Part] = [postgres.part, valkey.part]
        try:
            await asyncio.gather(postgres.start(), valkey.start())
            await asyncio.to_thread(migrate, postgres.url)
            book = Book(postgres.url, pool_size=4)
            await book.open()
            seeded = await seed(book, USERS, STAFF, CREDITS)
            await book.close()
            replica_port, bare_port = free_port(), free_port()
            environment = {
                "DATABASE_URL": postgres.url,
                "REDIS_URL": valkey.url,
                "CONCIERGE_LIMITS": "off",
                "PYTHONPATH": str(HOUSE),
            }
            replica = replica_part(1, replica_port, directory / "replica.log", environment)
            bare = Part(
                "bare aiohttp",
                lambda: [sys.executable, "-P", "-m", "tests.bench.bare", str(bare_port)],
                directory / "bare.log",
                lambda: answers(bare_port, "/"),
                environment={**os.environ, "PYTHONPATH": str(HOUSE)},
            )
            parts += [replica, bare]
            await asyncio.gather(replica.start(), bare.start())
            users = [line for line in seeded if line.role == "user"]
            staff = [line for line in seeded if line.role == "staff"]
            yield House(directory, postgres, replica, replica_port, bare, bare_port, users, staff)
        finally:
            for part in reversed(parts):
                await part.stop()
