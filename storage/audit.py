"""The audit log: who did what. Append-only, by the database itself."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from storage.database import Database
from storage.records import AuditRecord


async def record(
    database: Database, actor_id: int | None, action: str, subject_type: str, subject_id: int | None, **detail: Any
) -> None:
    """Write down that `actor_id` did `action` (like `account.suspend`) to a subject; None is the command line."""
    sql = """insert into audit_log(actor_account_id, action, subject_type, subject_id, detail)
    values ($1, $2, $3, $4, $5)"""
    await database.fetch(sql, actor_id, action, subject_type, subject_id, detail, writes=True)


class AuditQuery(Struct, frozen=True):
    """Which records; every None matches all."""

    actor_id: int | None
    subject_type: str | None
    subject_id: int | None
    action: str | None
    since: datetime | None
    before: int | None
    limit: int


SEARCH = """
select id, actor_account_id, action, subject_type, subject_id, detail, created_at from audit_log
where ($1::bigint is null or actor_account_id = $1) and ($2::text is null or subject_type = $2)
  and ($3::bigint is null or subject_id = $3) and ($4::text is null or action = $4)
  and ($5::timestamptz is null or created_at >= $5) and ($6::bigint is null or id < $6)
order by id desc limit $7
"""


async def search(database: Database, query: AuditQuery) -> list[AuditRecord]:
    """Give records, newest first."""
    rows = await database.fetch(
        SEARCH,
        query.actor_id,
        query.subject_type,
        query.subject_id,
        query.action,
        query.since,
        query.before,
        query.limit,
    )
    return [AuditRecord(**row) for row in rows]
