"""The errors of storage, and the one place where the driver's become ours.

StorageError
├── Unavailable      PostgreSQL is away, and what was asked is surely not done
├── OutcomeUnknown   PostgreSQL went away while it was being done
├── LockTimeout      a row stayed locked longer than `lock_timeout`; nothing is done
├── Conflict         a constraint refused; it names the constraint
└── QueryFailed      anything else that PostgreSQL refuses: a fault of ours
"""

from contextvars import ContextVar

import asyncpg

# Whether this request has written: what fails after that is not "surely not done" any more.
wrote: ContextVar[bool] = ContextVar("wrote", default=False)


class StorageError(Exception):
    """Storage could not answer."""


class Unavailable(StorageError):
    """PostgreSQL is away. What was asked is surely not done."""


class OutcomeUnknown(StorageError):
    """PostgreSQL went away in the middle. Whether it was done is not known."""


def gone() -> type[Unavailable | OutcomeUnknown]:
    """Give the error of a question that PostgreSQL could not be asked."""
    return OutcomeUnknown if wrote.get() else Unavailable


class LockTimeout(StorageError):
    """A row that is needed stayed locked by somebody else. Nothing is done."""


class Conflict(StorageError):
    """A constraint refused the write. Nothing is done."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"The constraint {constraint} refused the write.")
        self.constraint = constraint


class QueryFailed(StorageError):
    """PostgreSQL refused a query for a reason that no caller expects."""


# The connection is gone, or the server at its other end is not one that can be written to.
# (A timeout of asyncio's is an OSError since Python 3.11.)
GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)


def translate(error: Exception) -> StorageError:
    """Give our error for a driver's that left the connection usable; nothing was done."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        return LockTimeout(str(error))
    if isinstance(error, asyncpg.QueryCanceledError):
        return Unavailable("The query took longer than statement_timeout.")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Conflict(error.constraint_name or "")
    # The kind alone: the driver quotes arguments, PostgreSQL whole rows, and what we say may be logged.
    return QueryFailed(f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip())
