"""What commands do with accounts, straight in the book."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.__main__ import CommandError
from server.commands import where
from storage import accounts
from storage.book import Book
from storage.errors import StorageError
from storage.records import Account


@asynccontextmanager
async def book(data_dir: Path) -> AsyncIterator[Book]:
    """Give the opened book of the stack or of `DATABASE_URL`.

    Raises:
        CommandError: PostgreSQL is away, or refuses.
    """
    async with where.database(data_dir) as url, open_book(url) as opened:
        yield opened


@asynccontextmanager
async def open_book(url: str) -> AsyncIterator[Book]:
    """Give the opened book of a database."""
    opened = Book(url, pool_size=4, name="concierge command")
    await opened.open()
    try:
        await opened.fetchval("select 1")  # whether it is there is learned soon; what follows may take its time
        yield opened
    except StorageError as error:
        raise CommandError(f"PostgreSQL did not do it: {str(error).rstrip('.')}.") from None
    finally:
        await opened.close()


async def by_email(opened: Book, email: str) -> Account:
    """Give the account of an address."""
    found = await accounts.credentials(opened, email)
    if found is None:
        raise CommandError(f"There is no account with the address {email}.")
    return found.account
