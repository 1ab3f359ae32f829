"""Logins: authenticated tokens of accounts, stored as SHA-256 hashes. They hold no address of any kind."""

from collections.abc import Hashable, Sequence
from datetime import datetime

from storage.batch import Batcher
from storage.database import Database, Lane
from storage.errors import StorageError
from storage.records import Login

SEATS = 256  # a primary-key probe each


class NoLogin(StorageError):
    """There is no such login, or it was revoked."""


VERIFY = """
select c.ord, l.token_hash, l.account_id, a.role, a.status, l.site, l.expires_at, l.last_seen_at
from unnest($1::bytea[]) with ordinality as c(token_hash, ord)
join logins l on l.token_hash = c.token_hash join accounts a on a.id = l.account_id
"""


class LoginFlight:
    """Many token checks in one round trip."""

    writes = False

    def keys(self, call: bytes) -> Sequence[Hashable]:
        """Reads have no order to keep."""
        return ()

    async def fly(self, lane: Lane, calls: Sequence[bytes]) -> Sequence[Login | StorageError]:
        """Look all tokens up by one query."""
        outcomes: list[Login | StorageError] = [NoLogin() for _ in calls]
        for ord_, *fields in await lane.fetch(VERIFY, list(calls)):
            outcomes[ord_ - 1] = Login(*fields)
        return outcomes

    def landed(self, call: bytes, outcome: Login, *, again: bool) -> None:
        """Nobody needs to hear of a read."""


async def verify(checks: Batcher[bytes, Login], token_hash: bytes) -> Login:
    """Give the login of a token's hash, expired or not.

    Raises:
        NoLogin: there is none.
        Unavailable: PostgreSQL is away.
    """
    return await checks.call(token_hash)


async def verify_all(database: Database, token_hashes: Sequence[bytes]) -> dict[bytes, Login]:
    """Give the logins that are left of these, expired or not, by their hash."""
    return {row[1]: Login(*row[1:]) for row in await database.fetch(VERIFY, list(token_hashes))}


async def create(database: Database, token_hash: bytes, account_id: int, site: str, expires_at: datetime) -> None:
    """Remember a new login, and forget the account's expired ones."""
    sql = """with gone as (delete from logins where account_id = $2 and expires_at < now())
    insert into logins(token_hash, account_id, site, expires_at) values ($1, $2, $3, $4)"""
    await database.fetch(sql, token_hash, account_id, site, expires_at, writes=True)


async def extend(database: Database, token_hash: bytes, expires_at: datetime) -> None:
    """Slide a login that is in use."""
    sql = "update logins set expires_at = greatest(expires_at, $2), last_seen_at = now() where token_hash = $1"
    await database.fetch(sql, token_hash, expires_at, writes=True)


async def revoke(database: Database, token_hash: bytes) -> None:
    """Forget one login."""
    await database.fetch("delete from logins where token_hash = $1", token_hash, writes=True)


async def revoke_all(database: Database, account_id: int) -> int:
    """Forget every login of an account; gives how many there were."""
    rows = await database.fetch("delete from logins where account_id = $1 returning 1", account_id, writes=True)
    return len(rows)


async def of_account(database: Database, account_id: int) -> list[tuple[str, datetime, datetime]]:
    """Give site, begin and last use of an account's living logins."""
    sql = "select site, created_at, last_seen_at from logins where account_id = $1 and expires_at > now()"
    return [(row[0], row[1], row[2]) for row in await database.fetch(sql, account_id)]
