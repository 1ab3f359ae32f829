"""Which servers a command speaks to: named ones, those of a running stack, or those of a stopped one."""

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.__main__ import CommandError

DATA_DIR = ".concierge"


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the embedded stack."""
    parser.add_argument(
        "--data-dir", type=Path, default=Path(DATA_DIR), help="where the embedded stack keeps its data (%(default)s)"
    )


def running_stack(data_dir: Path) -> dict[str, Any] | None:
    """Give what a running stack says of itself in `stack.json`, None where none runs."""
    try:
        stack: dict[str, Any] = json.loads((data_dir / "stack.json").read_text())
        os.kill(stack["postgres"]["pid"] if stack.get("postgres") else os.getpid(), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stack


@asynccontextmanager
async def database(data_dir: Path) -> AsyncIterator[str]:
    """Give the database's URL: `DATABASE_URL`, a running stack's, or that of a stopped one, started for as long.

    Raises:
        CommandError: there is none of them.
    """
    named = os.environ.get("DATABASE_URL")
    stack = None if named else running_stack(data_dir)
    if named or stack:
        yield named or str(stack and stack["database_url"])
        return
    if not (data_dir / "postgres" / "PG_VERSION").exists():
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
