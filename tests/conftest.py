"""The fixtures that all rooms share."""

import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from server.settings import Settings
from storage.book import Book
from tests.people import People
from tests.processes import ReplicaProcess
from tests.servers import Replica, Servers

MakeReplica = Callable[..., Awaitable[Replica]]
MakeProcess = Callable[..., Awaitable[ReplicaProcess]]


@contextmanager
def _servers(cluster: Path | None = None) -> Iterator[Servers]:
    """Start servers, with a copy of a cluster or with a new one."""
    # Not beneath pytest's own directory: it closes that to PostgreSQL's user whenever a run begins.
    with TemporaryDirectory(prefix="concierge-test-") as directory:
        if cluster is not None:
            subprocess.run(["cp", "-a", str(cluster), directory], check=True)
        started = Servers(Path(directory)).start()
        yield started
        started.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated cluster at rest: copying it is five times as quick as making one."""
    copy = tmp_path_factory.mktemp("cluster")
    with _servers() as made:
        made.run(made.postgres.stop())
        subprocess.run(["cp", "-a", str(made.postgres.directory / "postgres"), str(copy)], check=True)
    return copy / "postgres"


@pytest.fixture(scope="session")
def servers(cluster: Path) -> Iterator[Servers]:
    """PostgreSQL and Valkey for all tests; each makes people of its own."""
    with _servers(cluster) as started:
        yield started


@pytest.fixture
async def book(servers: Servers) -> AsyncIterator[Book]:
    """The opened book."""
    opened = Book(servers.database_url, pool_size=4, name="test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with room for hundreds of calls at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def people(book: Book, http: aiohttp.ClientSession) -> People:
    """Makes people."""
    return People(book, http)


@pytest.fixture
async def make_replica(servers: Servers) -> AsyncIterator[MakeReplica]:
    """Starts replicas with settings of the test's choice."""
    made: list[Replica] = []

    async def make(**settings: Any) -> Replica:
        chosen: dict[str, Any] = {"database_url": servers.database_url, "redis_url": servers.redis_url, **settings}
        replica = await Replica(Settings(replica=f"test-{len(made)}", **chosen)).start()
        made.append(replica)
        return replica

    yield make
    for replica in reversed(made):
        await replica.stop()


@pytest.fixture
async def make_process(servers: Servers, tmp_path: Path) -> AsyncIterator[MakeProcess]:
    """Starts replicas as processes of their own."""
    made: list[ReplicaProcess] = []

    async def make(of: Servers = servers, **settings: str) -> ReplicaProcess:
        log = tmp_path / f"replica-{len(made)}.log"
        made.append(ReplicaProcess(log, of.database_url, of.redis_url, **settings))
        return await made[-1].start()

    yield make
    for process in made:
        await process.end(signal.SIGKILL)


@pytest.fixture
def own_servers(cluster: Path) -> Iterator[Servers]:
    """PostgreSQL and Valkey of the test's own, to be ill-treated."""
    with _servers(cluster) as started:
        yield started


@pytest.fixture
async def replica(make_replica: MakeReplica) -> Replica:
    """One replica."""
    return await make_replica()


@pytest.fixture
async def two(make_replica: MakeReplica) -> tuple[Replica, Replica]:
    """Two replicas that share the book and the bell."""
    return await make_replica(), await make_replica()
