"""Runs the migrations: brings a database to a schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

MIGRATIONS = Path(__file__).resolve().parent


class MigrationError(Exception):
    """The database cannot be brought to that schema; the message is one sentence for people."""


def config(url: str) -> Config:
    """Give Alembic its configuration for a database."""
    made = Config(MIGRATIONS.parent / "setup.cfg")
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["url"] = url
    return made


def migrate(url: str, revision: str = "head") -> None:
    """Bring a database up to `revision`, or down to it. Call it in a thread: it runs an event loop of its own.

    Raises:
        MigrationError: PostgreSQL cannot be reached, or there is no such revision.
    """
    try:
        if revision == "base" or revision.startswith("-"):
            command.downgrade(config(url), revision)
        else:
            command.upgrade(config(url), revision)
    except CommandError as error:
        raise MigrationError(f"The migration cannot be done: {error}.") from None
    except OSError as error:
        raise MigrationError(f"PostgreSQL cannot be reached: {error}.") from None
