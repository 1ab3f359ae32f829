"""`migrate`: bring the database to the newest schema, with Alembic."""

import argparse
import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError as AlembicError

from server.__main__ import CommandError
from server.commands import where

HOUSE = Path(__file__).resolve().parents[2]


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--revision", default="head", help="which schema: head, base, or a revision (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Migrate."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    async with where.database(options.data_dir) as url:
        await asyncio.to_thread(migrate, url, options.revision)
    print("The database has the newest schema." if options.revision == "head" else f"At {options.revision}.")
    return 0


def config(url: str) -> Config:
    """Give Alembic its configuration for a database."""
    made = Config(HOUSE / "setup.cfg")
    made.set_main_option("script_location", str(HOUSE / "migrations"))
    made.attributes["url"] = url
    return made


def migrate(url: str, revision: str = "head") -> None:
    """Bring a database up to `revision`, or down to it. Call it in a thread: it runs an event loop of its own.

    Raises:
        CommandError: PostgreSQL cannot be reached, or there is no such revision.
    """
    try:
        if revision == "base" or revision.startswith("-"):
            command.downgrade(config(url), revision)
        else:
            command.upgrade(config(url), revision)
    except AlembicError as error:
        raise CommandError(f"The migration cannot be done: {error}.") from None
    except OSError as error:
        raise CommandError(f"PostgreSQL cannot be reached: {error}.") from None
