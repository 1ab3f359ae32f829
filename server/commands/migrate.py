"""`migrate`: bring the database to the newest schema, with Alembic."""

import argparse
import asyncio
import json

from migrations.run import MigrationError, migrate
from server.__main__ import CommandError
from server.commands import where


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument(
        "--revision",
        default="head",
        help="which schema: head, a revision, -N for N steps back; base is none and deletes everything (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Migrate."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    async with where.database(options.data_dir) as url:
        try:
            reached = await asyncio.to_thread(migrate, url, options.revision)
        except MigrationError as error:
            raise CommandError(str(error)) from None
    if options.json:
        print(json.dumps({"revision": reached}))
        return 0
    print("The database has the newest schema." if options.revision == "head" else f"At {options.revision}.")
    return 0
