"""`audit`: do the books balance? Exit code 1, and the accounts' names, if they do not."""

import argparse
import asyncio

from server.commands import people, where
from server.wire.codec import encode
from storage import credits
from storage.credits import Books


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Audit."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    async with people.book(options.data_dir) as book:
        books = await credits.audit(book)
    print(encode(books).decode() if options.json else words(books))
    return 1 if books.mismatches else 0


def words(books: Books) -> str:
    """Say in words what the audit found."""
    lines = [f"{books.accounts:,} accounts, {books.entries:,} entries, {books.credits:,} credits in all."]
    for found in books.mismatches:
        lines.append(
            f"{found.display_name} <{found.email}> (account {found.account_id}): {found.problem}. "
            f"The balance says {found.credit_balance:,}, the entries add up to {found.entries_sum:,}."
        )
    lines.append("The books do not balance." if books.mismatches else "The books balance.")
    return "\n".join(lines)
