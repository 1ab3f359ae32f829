"""The embedded PostgreSQL starts whatever an earlier one left behind."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from server.embedded.places import own, system_user
from server.embedded.postgres import Postgres
from tests.embedded.stacks import wait_for


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory for one cluster, made once."""
    with TemporaryDirectory(prefix="concierge-test-") as name:
        yield Path(name)


async def works(postgres: Postgres) -> bool:
    connection = await asyncpg.connect(postgres.url)
    answer: int = await connection.fetchval("select 42")
    await connection.close()
    return answer == 42


def leave_lock(directory: Path, pid: int) -> None:
    """Leave what a killed postgres leaves, with somebody's process id."""
    for lock in (directory / "postgres" / "postmaster.pid", directory / "run" / ".s.PGSQL.5432.lock"):
        lock.write_text(f"{pid}\n{directory}/postgres\n1763900000\n5432\n{directory}/run\n\n   123456     32768\n")
        lock.chmod(0o600)
        own(lock, system_user())


def somebody(program: str) -> "subprocess.Popen[bytes]":
    """Give another process of the user that postgres runs as."""
    return subprocess.Popen([program], stdin=subprocess.PIPE, user=system_user())


async def test_one_that_outlived_its_supervisor_is_stopped_first(directory: Path) -> None:
    old, new = Postgres(directory), Postgres(directory)
    await old.start()
    first = old.pid
    await new.start()
    try:
        assert await works(new)
        assert new.pid != first
        wait_for(lambda: old.pid == 0 or not Path(f"/proc/{first}/cmdline").read_bytes(), "The end of the old one")
    finally:
        await new.stop()


async def test_a_dead_one_that_nobody_buried_yet_is_no_hindrance(directory: Path) -> None:
    with somebody("true") as dead:
        wait_for(lambda: ") Z " in Path(f"/proc/{dead.pid}/stat").read_text(), "Its death")
        leave_lock(directory, dead.pid)
        postgres = Postgres(directory)
        await postgres.start()
        assert await works(postgres)
        await postgres.stop()


async def test_another_program_with_its_number_is_no_hindrance_and_comes_to_no_harm(directory: Path) -> None:
    with somebody("cat") as other:
        leave_lock(directory, other.pid)
        postgres = Postgres(directory)
        await postgres.start()
        assert await works(postgres)
        await postgres.stop()
        assert other.poll() is None
        other.kill()
