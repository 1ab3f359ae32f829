"""`restore`: read the database back from a file that `backup` wrote, all of it or nothing.

Ids handed out after the backup was made are known to clients as positions, though no table knows them any more. Should
they be given to new messages, clients would take those for old ones and skip them. So every sequence of ids moves far
ahead, and with them the sessions' revisions, of which clients keep the highest.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from migrations.run import MigrationError, migrate
from server.__main__ import CommandError
from server.commands import people, where
from server.commands.audit import words
from server.commands.backup import invocation, last_words, tool
from server.wire.codec import encode
from storage import audit, credits

STDIN = "-"
# More than anybody handed out since any backup, and 9 million restores before JavaScript counts wrong.
AHEAD = 1_000_000_000

REPLACE = """
begin;
set local lock_timeout = '5s';
drop schema if exists public cascade;
create schema public;
"""
# The catalogue knows every sequence that belongs to an identity column.
MOVE_AHEAD = f"""
select pg_catalog.setval(s.seqrelid, coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid), 0) + {AHEAD})
from pg_catalog.pg_sequence s join pg_catalog.pg_class c on c.oid = s.seqrelid
where c.relnamespace = 'public'::pg_catalog.regnamespace;
update public.sessions set revision = revision + {AHEAD};
commit;
"""
# Whoever still serves from this database: their caches and prepared statements would be those of another one.
SERVING = """select string_agg(distinct application_name, ', ') from pg_stat_activity
where datname = current_database() and application_name like 'concierge %' and pid <> pg_backend_pid()"""
HAS_TABLES = "select to_regclass('public.accounts') is not null"


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("file", nargs="?", help="what `backup` wrote, or - for stdin")
    parser.add_argument(
        "--ids-only",
        action="store_true",
        help="restore nothing, but move the ids: after a failover that lost something",
    )
    parser.add_argument("--replace", action="store_true", help="drop what the database holds now")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Restore, bring the schema up to date, and check the books."""
    if (options.file is None) != options.ids_only:
        raise CommandError("Say either which file to restore, or --ids-only.", 2)
    return asyncio.run(_move(options) if options.ids_only else _run(options))


async def _move(options: argparse.Namespace) -> int:
    async with where.database(options.data_dir) as url:
        await asyncio.to_thread(_ask, url, f"begin;{MOVE_AHEAD}")
        async with people.open_book(url) as book:
            await audit.record(book, None, "database.ids", "database", None, ahead=AHEAD)
    print(encode({"ahead": AHEAD}).decode() if options.json else f"All ids go on {AHEAD:,} further.")
    return 0


async def _run(options: argparse.Namespace) -> int:
    await _ensure_cluster(options.data_dir)
    async with where.database(options.data_dir) as url:
        await asyncio.to_thread(_check, url, replace=options.replace)
        await asyncio.to_thread(_restore_from, url, options.file)
        try:
            await asyncio.to_thread(migrate, url)
        except MigrationError as error:
            raise CommandError(f"The data is back, but {str(error)[0].lower()}{str(error)[1:]}") from None
        async with people.open_book(url) as book:
            await audit.record(book, None, "database.restore", "database", None, ahead=AHEAD)
            books = await credits.audit(book)
    print(encode(books).decode() if options.json else f"The database is back. {words(books)}")
    return 1 if books.mismatches else 0


async def _ensure_cluster(data_dir: Path) -> None:
    """Make an embedded PostgreSQL where there is none yet: a restore may be the first thing a machine does."""
    if os.environ.get("DATABASE_URL") or (data_dir / "postgres" / "PG_VERSION").exists():
        return
    from server.embedded.part import PartError
    from server.embedded.postgres import Postgres

    postgres = Postgres(data_dir)
    try:
        await postgres.start()
        await postgres.stop()
    except (PartError, OSError) as error:
        raise CommandError(f"The data directory {data_dir} cannot be used: {error}") from None


def _check(url: str, *, replace: bool) -> None:
    """Refuse to restore under somebody's feet, or over what nobody said may go."""
    if serving := _ask(url, SERVING):
        raise CommandError(f"The database is in use by {serving}. Stop every replica first.")
    count = int(_ask(url, "select count(*) from public.accounts")) if _ask(url, HAS_TABLES) == "t" else 0
    if count and not replace:
        raise CommandError(f"The database holds {count:,} accounts. Say --replace to drop all that it holds.")


def _ask(url: str, sql: str) -> str:
    return tool("psql", url, "--no-psqlrc", "-Atqc", sql).decode().strip()


def _restore_from(url: str, name: str) -> None:
    if name == STDIN:
        restore(url, sys.stdin.buffer)
        return
    try:
        file = Path(name).expanduser().open("rb")
    except OSError as error:
        raise CommandError(f"The file {name} cannot be read: {error.strerror}.") from None
    with file:
        restore(url, file)


def restore(url: str, file: IO[bytes]) -> None:
    """Put a backup in the place of all that a database holds, in one transaction.

    Raises:
        CommandError: it could not be done; the database is as it was.
    """
    with tempfile.TemporaryFile() as complaints:
        reader = _start_reader(file, complaints)
        command, environment = invocation("psql", url, ("--no-psqlrc", "-qXv", "ON_ERROR_STOP=1", "-f", "-"))
        writer = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints
        )
        assert writer.stdin is not None
        assert reader.stdout is not None
        try:
            writer.stdin.write(REPLACE.encode())
            shutil.copyfileobj(reader.stdout, writer.stdin)
            # Only a file that was read to its end may be committed; without this the transaction is rolled back.
            if reader.wait() == 0:
                writer.stdin.write(MOVE_AHEAD.encode())
            writer.stdin.close()
        except BrokenPipeError:
            reader.kill()
        if writer.wait() != 0 or reader.wait() != 0:
            complaints.seek(0)
            raise CommandError(
                f"The backup could not be restored, and the database is as it was: {last_words(complaints.read())}"
            )


def _start_reader(file: IO[bytes], complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start what makes SQL of a backup."""
    command, environment = invocation("pg_restore", "postgresql:///", ())
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--file=-"]
    return subprocess.Popen(
        [command[0], *options], env=environment, stdin=file, stdout=subprocess.PIPE, stderr=complaints
    )
