"""What the bell may have failed to say: what is new in the book for the accounts that are connected here."""

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct

from storage.database import Database
from storage.records import Message

# More than this in one round is not repaired by pushes: the heads tell clients to poll.
MESSAGES_MOST = 2_000


class Mark(Struct, frozen=True):
    """A moment, and the newest message from before it: what came later is above both, however late it commits."""

    since: datetime
    message_id: int


# From the newest message backwards, as far as the moment: the few of the last seconds.
MARK = """
select t.since, coalesce((select m.id from messages m where m.created_at < t.since order by m.id desc limit 1), 0)
from (select clock_timestamp() - $1 * interval '1 second' as since) t
"""


async def mark(database: Database, late_seconds: float) -> Mark:
    """Give a mark below everything that is not visible yet.

    Args:
        late_seconds: longer than any transaction takes from drawing an id, or its time, to its commit.
    """
    row = await database.fetchrow(MARK, late_seconds)
    assert row is not None
    return Mark(*row)


class Fresh(Struct, frozen=True):
    """A message with those who may hear of it now."""

    message: Message
    user_account_id: int
    staff_account_id: int
    author_account_id: int
    idempotency_key: str


# (`<> all` would look through the whole array for every row; the subquery is hashed.)
FRESH = """
select s.user_account_id, p.staff_account_id, m.author_account_id, m.idempotency_key,
  m.id, m.session_id, m.sender_type, m.sender_id, m.content, m.credit_cost, m.created_at, m.prev_id
from messages m join sessions s on s.id = m.session_id join personas p on p.id = s.persona_id
where m.id > $1 and m.id not in (select unnest($2::bigint[]))
  and m.created_at < clock_timestamp() - $5 * interval '1 second'
  and (s.user_account_id = any($3::bigint[]) or p.staff_account_id = any($3::bigint[]))
order by m.id limit $4
"""


async def fresh(
    database: Database, after: int, seen: Collection[int], account_ids: Sequence[int], quiet_seconds: float
) -> list[Fresh]:
    """Give the messages with id > `after` that concern some accounts, but for those `seen`; at most 2,000.

    Args:
        quiet_seconds: the bell of a message that is younger than this may still be on its way.
    """
    rows = await database.fetch(FRESH, after, list(seen), list(account_ids), MESSAGES_MOST, quiet_seconds)
    return [Fresh(Message(*row[4:]), *row[:4]) for row in rows]


async def owned(database: Database, account_ids: Sequence[int]) -> set[tuple[int, int]]:
    """Give (staff account, persona) for each persona that one of these accounts owns."""
    sql = "select staff_account_id, id from personas where staff_account_id = any($1::bigint[])"
    return {(row[0], row[1]) for row in await database.fetch(sql, list(account_ids))}


async def sessions_of(database: Database, persona_id: int) -> list[int]:
    """Give the ids of a persona's sessions."""
    rows = await database.fetch("select id from sessions where persona_id = $1 order by id", persona_id)
    return [row[0] for row in rows]
