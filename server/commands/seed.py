"""`seed`: many accounts with sessions and tokens, as JSON lines, for load tests."""

import argparse
import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from server.__main__ import CommandError
from server.auth import HASHER, hash_token, new_token
from server.commands import people, where
from server.commands.backup import STDOUT
from server.wire.codec import encode
from storage import bulk
from storage.book import Book
from storage.records import Role

# Rows in one statement: a megabyte or so on the wire.
CHUNK = 2_000


class Seeded(Struct, omit_defaults=True):
    """One line of the output: an account with its token, and its sessions (for staff those of its persona)."""

    role: str
    account_id: int
    email: str
    token: str
    persona_id: int = 0
    session_ids: list[int] = []


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--users", type=int, required=True, help="how many users")
    parser.add_argument("--staff", type=int, required=True, help="how many staff, each with a persona")
    parser.add_argument("--credits", type=int, required=True, help="credits of each user")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON lines go, or - for stdout")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Seed and say what was made."""
    _check(options)
    if str(options.out) == STDOUT:
        for line in asyncio.run(_run(options)):
            print(encode(line).decode())
        return 0
    try:
        descriptor = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds tokens
    except OSError as error:
        raise CommandError(f"{options.out} cannot be written: {error.strerror}.") from None
    with os.fdopen(descriptor, "wb") as out:
        for line in asyncio.run(_run(options)):
            out.write(encode(line) + b"\n")
    if options.json:
        print(encode({"users": options.users, "staff": options.staff, "out": str(options.out)}).decode())
        return 0
    print(f"{options.users:,} users and {options.staff:,} staff, with their tokens, are in {options.out}.")
    return 0


def _check(options: argparse.Namespace) -> None:
    for name, least, most in (("users", 0, 1_000_000), ("staff", 0, 100_000), ("credits", 0, 1_000_000_000)):
        if not least <= getattr(options, name) <= most:
            raise CommandError(f"--{name} must be from {least} to {most:,}.", 2)
    if options.users and not options.staff:
        raise CommandError("Users need somebody to talk with: --staff must be at least 1.", 2)


async def _run(options: argparse.Namespace) -> list[Seeded]:
    async with people.book(options.data_dir) as book:
        return await seed(book, options.users, options.staff, options.credits)


async def seed(book: Book, users: int, staff: int, credits: int) -> list[Seeded]:
    """Make accounts in bulk; each user has one session, the users spread evenly over the staff's personas."""
    mark = new_token()[:8].lower().replace("_", "x").replace("-", "x")
    hashed = await asyncio.to_thread(HASHER.hash, new_token())
    desks = await _accounts(book, f"load-{mark}-staff", staff, "staff", 0, hashed)
    people_ = await _accounts(book, f"load-{mark}-user", users, "user", credits, hashed)
    persona_of = await bulk.create_personas(book, [desk.account_id for desk in desks])
    for desk in desks:
        desk.persona_id = persona_of[desk.account_id]
    if desks:
        await _sessions(book, people_, desks)
    return desks + people_


async def _accounts(book: Book, stem: str, count: int, role: Role, credits: int, hashed: str) -> list[Seeded]:
    expires_at = datetime.now(UTC) + timedelta(days=7)
    made: list[Seeded] = []
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        emails = [f"{stem}{number}@example.com" for number in numbers]
        ids = await bulk.create_accounts(book, emails, hashed, role, credits)
        lines = [Seeded(role, id_, email, new_token()) for id_, email in ids]
        tokens = {hash_token(line.token): line.account_id for line in lines}
        await bulk.create_logins(book, tokens, expires_at)
        made += lines
    return made


async def _sessions(book: Book, users: list[Seeded], desks: list[Seeded]) -> None:
    by_account = {line.account_id: line for line in users}
    by_persona = {desk.persona_id: desk for desk in desks}
    for start in range(0, len(users), CHUNK):
        pairs = [
            (line.account_id, desks[(start + place) % len(desks)].persona_id)
            for place, line in enumerate(users[start : start + CHUNK])
        ]
        for session_id, user_id, persona_id in await bulk.create_sessions(book, pairs):
            by_account[user_id].session_ids.append(session_id)
            by_persona[persona_id].session_ids.append(session_id)
