"""Which servers a command speaks to: named ones, those of a running stack, or those of a stopped one."""

import argparse
import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from server.__main__ import CommandError
from server.embedded.places import FIRST_START
from server.settings import SettingsError, check_url

DATA_DIR = ".concierge"
# A stack that is just starting is waited for; longer than that is more than starting.
STARTING_SECONDS = 30.0
PAUSE_SECONDS = 0.1


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the embedded stack."""
    parser.add_argument(
        "--data-dir",
        type=_directory,
        default=Path(DATA_DIR),
        help="where the embedded stack keeps its data (%(default)s)",
    )


def _directory(text: str) -> Path:
    if not text:  # a script's variable that is not set: the current directory is not what it means
        raise argparse.ArgumentTypeError("it must name a directory")
    return Path(text)


def running_stack(data_dir: Path) -> dict[str, Any] | None:
    """Give what a running stack says of itself in `stack.json`, None where none runs or it has not said so yet."""
    with _alone(data_dir) as alone:
        if alone:
            return None  # what a killed stack left behind is not true any more
    try:
        stack: dict[str, Any] = json.loads((data_dir / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    return stack


@contextmanager
def _alone(data_dir: Path) -> Iterator[bool]:
    """Keep the data directory for oneself, as `up` does; gives whether nobody else has it."""
    create = os.O_CREAT if (data_dir / "postgres").exists() else 0  # leave nothing behind where no stack is
    try:
        lock = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CLOEXEC | create, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        yield True
        return
    except OSError as error:
        raise CommandError(f"The data directory {data_dir} cannot be used: {error.strerror}.") from None
    try:
        yield _lock(lock)
    finally:
        os.close(lock)


def _lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def database(data_dir: Path) -> AsyncIterator[str]:
    """Give the database's URL: `DATABASE_URL`, a running stack's, or that of a stopped one, started for as long.

    Raises:
        CommandError: there is none of them.
    """
    if named := os.environ.get("DATABASE_URL"):
        try:
            check_url("DATABASE_URL", named)
        except SettingsError as error:
            raise CommandError(str(error), 2) from None
        yield named
        return
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        with _alone(data_dir) as alone:
            if alone:
                async with _stopped(data_dir) as url:
                    yield url
                return
        if stack := running_stack(data_dir):
            yield str(stack["database_url"])
            return
        if time.monotonic() > deadline:
            raise CommandError(f"The stack in {data_dir} is neither running nor stopped. Try again when it is ready.")
        await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def _stopped(data_dir: Path) -> AsyncIterator[str]:
    """Start a stopped stack's PostgreSQL for as long as it is needed."""
    if not (data_dir / "postgres" / "PG_VERSION").exists() or (data_dir / FIRST_START).exists():
        raise CommandError(
            f"There is no stack in {data_dir} and DATABASE_URL is not set. Start one with ./concierge up."
        )
    from server.embedded.part import PartError
    from server.embedded.postgres import Postgres

    postgres = Postgres(data_dir)
    try:
        await postgres.start()
    except PartError as error:
        raise CommandError(str(error)) from None
    try:
        yield postgres.url
    finally:
        await postgres.stop()
