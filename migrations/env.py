"""Alembic's door: runs the migrations over asyncpg, the one driver of the house.

The database is `config.attributes["url"]` where a command sets it, else the environment's `DATABASE_URL`.
"""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from storage.database import sqlalchemy_url
from storage.tables import metadata

# Two `up`s or two pods may migrate at once; one waits for the other on this arbitrary, fixed number.
MIGRATION_LOCK = 7_203_118_046


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()
        context.config.attributes["reached"] = context.get_context().get_current_revision()


async def _run(url: str) -> None:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


url = context.config.attributes.get("url") or os.environ.get("DATABASE_URL")
if not url:
    raise SystemExit("DATABASE_URL is not set: name the database to migrate.")
asyncio.run(_run(url))
