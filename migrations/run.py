"""Runs the migrations: brings a database to a schema."""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

MIGRATIONS = Path(__file__).resolve().parent


class MigrationError(Exception):
    """The database cannot be brought to that schema; the message is one sentence for people."""


def config(url: str) -> Config:
    """Give Alembic its configuration for a database."""
    made = Config(MIGRATIONS.parent / "setup.cfg")
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["url"] = url
    return made


def migrate(url: str, revision: str = "head") -> str | None:
    """Bring a database up to `revision`, or down to it. Call it in a thread: it runs an event loop of its own.

    Returns:
        The revision that the database has now, None for no schema at all.

    Raises:
        MigrationError: PostgreSQL cannot be reached or refuses, or there is no such revision.
    """
    made = config(url)
    try:
        if revision == "base" or revision.startswith("-"):
            command.downgrade(made, revision)
        else:
            command.upgrade(made, revision)
    except (DBAPIError, asyncpg.PostgresError) as error:
        cause = getattr(error, "orig", None) or error
        why = str(cause).splitlines()[0].rpartition(">: ")[2]  # SQLAlchemy puts the driver's class before its words
        raise MigrationError(f"The migration cannot be done: {why.rstrip('.')}. Nothing was changed.") from None
    except CommandError as error:
        raise MigrationError(f"The migration cannot be done: {error}.") from None
    except OSError as error:
        raise MigrationError(f"PostgreSQL cannot be reached: {error}.") from None
    reached: str | None = made.attributes["reached"]
    return reached
