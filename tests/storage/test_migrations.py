"""The migrations go up, down and up again, and leave nothing behind."""

import asyncio
import sys

import asyncpg
import pytest

from migrations.run import MigrationError, migrate
from storage import accounts
from storage.book import Book

# Everything that a database may be left with: tables, indexes, sequences, types, functions, triggers.
THINGS = """
select 'relation ' || relname from pg_class where relnamespace = 'public'::regnamespace
union all select 'type ' || typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e'
union all select 'function ' || proname from pg_proc where pronamespace = 'public'::regnamespace
union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
union all select 'constraint ' || conname from pg_constraint where connamespace = 'public'::regnamespace order by 1
"""


async def _things(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(THINGS)]
    finally:
        await connection.close()


@pytest.fixture
async def used(scratch: str) -> str:
    """A database with the newest schema and something in it."""
    await asyncio.to_thread(migrate, scratch)
    book = Book(scratch, pool_size=2, name="test")
    await book.open()
    await accounts.create(book, "a@example.com", "花子", "x", "user", 100, "welcome")
    await book.close()
    return scratch


async def test_up_makes_everything_and_down_leaves_nothing(used: str) -> None:
    made = await _things(used)
    assert {"relation messages", "type account_role", "trigger credit_entries_append_only"} <= set(made)
    await asyncio.to_thread(migrate, used, "base")
    assert [thing for thing in await _things(used) if "alembic_version" not in thing] == []
    await asyncio.to_thread(migrate, used)
    assert await _things(used) == made


async def test_the_newest_schema_is_not_made_twice(used: str) -> None:
    await asyncio.to_thread(migrate, used)
    connection = await asyncpg.connect(used)
    assert await connection.fetchval("select count(*) from accounts") == 1
    await connection.close()


async def test_two_that_migrate_at_once_wait_for_each_other(scratch: str) -> None:
    """As two replicas' jobs would; each in a process of its own, for Alembic's context is a global thing."""
    script = "import sys; from migrations.run import migrate; migrate(sys.argv[1])"
    both = [await asyncio.create_subprocess_exec(sys.executable, "-c", script, scratch) for _ in range(2)]
    assert [await process.wait() for process in both] == [0, 0]
    assert "relation messages" in await _things(scratch)


async def test_a_revision_that_nobody_knows_is_one_clear_sentence(scratch: str) -> None:
    with pytest.raises(MigrationError, match="cannot be done"):
        await asyncio.to_thread(migrate, scratch, "9999")
