"""`backup`: write the database to a file, with pg_dump. The stack may run and be in use meanwhile."""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from server.__main__ import CommandError
from server.commands import where
from server.wire.codec import encode

STDOUT = "-"


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--out", default="", help="the file, or - for stdout (concierge-DATE.dump, here)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Write the backup and say where it is."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    name = options.out or f"concierge-{datetime.now(UTC):%Y%m%d-%H%M%S}.dump"
    async with where.database(options.data_dir) as url:
        if name == STDOUT:
            await asyncio.to_thread(tool, "pg_dump", url, *FORMAT, stdout=sys.stdout.buffer.fileno())
            return 0
        size = await asyncio.to_thread(dump, url, Path(name))
    if options.json:
        print(encode({"file": name, "bytes": size}).decode())
    else:
        print(f"The database is in {name} ({size:,} bytes). Keep it where this machine's end does not reach it.")
    return 0


# One file, compressed, from one moment; who owns what and may do what is the new server's matter.
FORMAT = ("--format=custom", "--no-owner", "--no-privileges")


def dump(url: str, file: Path) -> int:
    """Write a database to a file, whole or not at all and for our eyes alone, and give the file's size in bytes."""
    new = file.with_name(f"{file.name}.new")
    if file.is_dir():
        raise CommandError(f"The file {file} cannot be written: it is a directory.")
    try:
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    except OSError as error:
        raise CommandError(f"The file {file} cannot be written: {error.strerror}.") from None
    try:
        tool("pg_dump", url, *FORMAT, f"--file={new}")
        new.replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            new.unlink()
        raise
    return file.stat().st_size


def tool(name: str, url: str, *arguments: str, stdout: int = subprocess.PIPE, stdin: int = subprocess.DEVNULL) -> bytes:
    """Run a program of PostgreSQL against a database and give its output, where that is not sent elsewhere.

    Raises:
        CommandError: there is no such program, or it failed; with its last words.
    """
    command, environment = invocation(name, url, arguments)
    done = subprocess.run(command, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise CommandError(f"{name} failed: {last_words(done.stderr)}")
    return done.stdout or b""


def invocation(name: str, url: str, arguments: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """Give the command and the environment of a program; a password travels where `ps` does not show it."""
    parts = urlsplit(url)
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    if parts.password is not None:
        environment["PGPASSWORD"] = unquote(parts.password)
        user, host = parts.netloc.rsplit("@", 1)
        url = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))
    return [_program(name), "--no-password", f"--dbname={url}", *arguments], environment


def _program(name: str) -> str:
    """Find a program of PostgreSQL: the embedded package's, else the one on the PATH."""
    try:
        from server.embedded.postgres import BINARIES

        if (BINARIES / name).exists():
            return str(BINARIES / name)
    except ModuleNotFoundError:
        pass
    found = shutil.which(name)
    if found is None:
        raise CommandError(f"The program {name} is missing. On Debian and Ubuntu: apt-get install postgresql-client")
    return found


def last_words(stderr: bytes) -> str:
    """Give the line that says what was wrong: the last error, or else the last line."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it did not say why."])[-1]
