"""Credits: the append-only ledger. `accounts.credit_balance` always equals the sum of an account's amounts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from storage.accounts import Balance
from storage.database import Database
from storage.errors import Conflict
from storage.records import Entry, EntryKind

_ENTRY = """e.id, e.account_id, e.amount, e.balance_after, e.kind, e.message_id, m.session_id,
  s.persona_id, p.name as persona_name, e.note, e.created_at"""
_JOINS = """left join messages m on m.id = e.message_id left join sessions s on s.id = m.session_id
left join personas p on p.id = s.persona_id"""

# The guarded update takes the row's lock and is judged on its newest version; the entry's id is drawn after it. Who
# booked it goes into the audit log in the same breath: an entry without its record cannot be.
GRANT = f"""
with a as (
  update accounts set credit_balance = credit_balance + $2, updated_at = clock_timestamp()
  where id = $1 and credit_balance::bigint + $2 between 0 and 2147483647 returning id, credit_balance),
e as (
  insert into credit_entries(account_id, amount, balance_after, kind, reference, note, created_by, idempotency_key)
  select a.id, $2, a.credit_balance, $3::entry_kind, $4, $5, $6, $7 from a returning *),
l as (
  insert into audit_log(actor_account_id, action, subject_type, subject_id, detail)
  select e.created_by, 'credits.' || e.kind, 'account', e.account_id,
    jsonb_build_object('amount', e.amount, 'entry_id', e.id) from e)
select {_ENTRY} from e {_JOINS}
"""

REFUND = f"""
with m0 as (
  select id, author_account_id, credit_cost from messages where id = $1 and sender_type = 'user' and credit_cost > 0),
a as (
  update accounts x set credit_balance = x.credit_balance + m0.credit_cost, updated_at = clock_timestamp()
  from m0 where x.id = m0.author_account_id returning x.id, x.credit_balance),
e as (
  insert into credit_entries(account_id, amount, balance_after, kind, message_id, note, created_by)
  select a.id, m0.credit_cost, a.credit_balance, 'refund', m0.id, $2, $3 from a, m0 returning *),
l as (
  insert into audit_log(actor_account_id, action, subject_type, subject_id, detail)
  select e.created_by, 'message.refund', 'message', e.message_id, jsonb_build_object('amount', e.amount) from e)
select {_ENTRY} from e {_JOINS}
"""


class Grant(Struct, frozen=True):
    """A booking by an admin. `amount` is signed; only an adjustment may be negative."""

    account_id: int
    amount: int
    kind: EntryKind
    reference: str | None
    note: str
    created_by: int | None
    idempotency_key: str | None


async def grant(database: Database, booking: Grant) -> Entry | None:
    """Book a grant, a purchase or an adjustment; None when the account is missing or its balance would not hold it.

    Raises:
        Conflict: `credit_entries_created_by_key_key` or `credit_entries_kind_reference_key`: booked before.
    """
    row = await database.fetchrow(
        GRANT,
        booking.account_id,
        booking.amount,
        booking.kind,
        booking.reference,
        booking.note,
        booking.created_by,
        booking.idempotency_key,
        writes=True,
    )
    return Entry(**row) if row else None


class Booked(Struct, frozen=True):
    """An entry as it was asked for, to tell a replay from a reused key."""

    entry: Entry
    reference: str | None


async def by_key(database: Database, created_by: int | None, idempotency_key: str) -> Booked | None:
    """Give what an admin booked under a key."""
    sql = f"""select {_ENTRY}, e.reference from credit_entries e {_JOINS}
    where e.created_by = $1 and e.idempotency_key = $2"""
    row = await database.fetchrow(sql, created_by, idempotency_key)
    if row is None:
        return None
    values = dict(row)
    reference = values.pop("reference")
    return Booked(Entry(**values), reference)


async def refund(database: Database, message_id: int, note: str, created_by: int) -> tuple[Entry, bool] | None:
    """Give back what a message cost, once for ever: the entry and whether it is new; None for nothing to refund."""
    try:
        row = await database.fetchrow(REFUND, message_id, note, created_by, writes=True)
    except Conflict:
        sql = f"select {_ENTRY} from credit_entries e {_JOINS} where e.message_id = $1 and e.kind = 'refund'"
        first = await database.fetchrow(sql, message_id)
        assert first is not None
        return Entry(**first), False
    return (Entry(**row), True) if row else None


async def entries(database: Database, account_id: int, before: int | None, limit: int) -> list[Entry]:
    """Give a page of an account's statement, newest first."""
    sql = f"""select {_ENTRY} from credit_entries e {_JOINS}
    where e.account_id = $1 and ($2::bigint is null or e.id < $2) order by e.id desc limit $3"""
    return [Entry(**row) for row in await database.fetch(sql, account_id, before, limit)]


BALANCES = """
select a.id, a.credit_balance, coalesce((select e.id from credit_entries e where e.account_id = a.id
  order by e.id desc limit 1), 0)
from accounts a where a.id = any($1::bigint[]) and a.role = 'user'
  and (a.updated_at > $2 or a.id = any($3::bigint[]))
"""


async def balances(
    database: Database, account_ids: Sequence[int], since: datetime, besides: Sequence[int]
) -> list[Balance]:
    """Give the balances of the users among some accounts that changed after `since`, and of those in `besides`."""
    return [Balance(*row) for row in await database.fetch(BALANCES, list(account_ids), since, list(besides))]


class Mismatch(Struct, frozen=True):
    """An account whose books do not balance: what the account says, what its entries say, and why it is listed."""

    account_id: int
    email: str
    display_name: str
    credit_balance: int
    entries_sum: int
    problem: str


AUDIT = """
with sums as (select account_id, sum(amount)::bigint as total from credit_entries group by account_id),
chain as (
  select distinct account_id from (select account_id, balance_after,
    sum(amount) over (partition by account_id order by id) as running from credit_entries) r
  where balance_after <> running),
unpaid as (
  select distinct m.author_account_id as account_id from messages m
  left join credit_entries e on e.message_id = m.id and e.kind = 'message'
  where m.sender_type = 'user' and m.credit_cost > 0 and (e.id is null or e.amount <> -m.credit_cost))
select a.id, a.email, a.display_name, a.credit_balance, coalesce(sums.total, 0),
  case when a.credit_balance <> coalesce(sums.total, 0) then 'the balance is not the sum of the entries'
   when chain.account_id is not null then 'an entry''s balance_after is not the running sum'
   else 'a paid message has no entry, or one of another amount' end
from accounts a left join sums on sums.account_id = a.id left join chain on chain.account_id = a.id
left join unpaid on unpaid.account_id = a.id
where a.credit_balance <> coalesce(sums.total, 0) or chain.account_id is not null or unpaid.account_id is not null
order by a.id
"""


class Books(Struct, frozen=True):
    """The whole ledger added up."""

    accounts: int
    entries: int
    credits: int
    mismatches: list[Mismatch]


async def audit(database: Database) -> Books:
    """Add up every account's entries and hold them against balances and messages, in one snapshot."""

    async def read(connection: Any) -> Books:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("set local statement_timeout = '10min'")
            rows = await connection.fetch(AUDIT)
            totals = await connection.fetchrow(
                """select (select count(*) from accounts), (select count(*) from credit_entries),
                (select coalesce(sum(credit_balance), 0)::bigint from accounts)"""
            )
        return Books(totals[0], totals[1], totals[2], [Mismatch(*row) for row in rows])

    return await database.run(read, deadline=600)
