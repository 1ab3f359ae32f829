"""Accounts: people who can log in. They are never deleted."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from storage.database import Database
from storage.records import Account, AccountStatus, Role

_ENTRY = "coalesce((select e.id from credit_entries e where e.account_id = a.id order by e.id desc limit 1), 0)"
_COLUMNS = f"""a.id, a.email, a.display_name, a.role, a.status, a.credit_balance,
  {_ENTRY} as credit_entry_id, a.created_at"""

FUNCTIONS = """
create or replace function pg_temp.change_account(
  p_id bigint, p_role account_role, p_status account_status, p_name text)
returns text language plpgsql volatile as $$
declare a record; admins bigint[];
begin
 -- Admins are locked together, so that two who demote each other cannot both succeed; what decides is read after.
 perform from accounts x where x.role = 'admin' or x.id = p_id order by x.id for no key update;
 select x.role, x.status into a from accounts x where x.id = p_id;
 if not found then return 'not_found'; end if;
 if a.role = 'admin' and a.status = 'active' and (p_role <> 'admin' or p_status <> 'active')
   and not exists (select from accounts x where x.role = 'admin' and x.status = 'active' and x.id <> p_id) then
  return 'last_admin';
 end if;
 -- Only staff answer as a persona: an admin who owned one would leave its chats without a desk, as a user would.
 if p_role <> a.role and exists (select from personas p where p.staff_account_id = p_id) then
  return 'owns_personas';
 end if;
 if p_role <> a.role and a.role = 'user' and exists (select from sessions s where s.user_account_id = p_id) then
  return 'has_sessions';
 end if;
 update accounts x set role = coalesce(p_role, x.role), status = coalesce(p_status, x.status),
   display_name = coalesce(p_name, x.display_name), updated_at = clock_timestamp() where x.id = p_id;
 if p_role <> a.role then delete from logins l where l.account_id = p_id; end if;
 return 'changed';
end $$;
"""


class Credentials(Struct, frozen=True):
    """What a login is checked against."""

    account: Account
    hashed_password: str


CREATE = """
with a as (
  insert into accounts(email, display_name, hashed_password, role, credit_balance)
  values ($1, $2, $3, $4::account_role, $5) returning *),
e as (
  insert into credit_entries(account_id, amount, balance_after, kind, note)
  select id, $5, $5, 'grant', $6 from a where $5 > 0 returning id)
select a.id, a.email, a.display_name, a.role, a.status, a.credit_balance,
  coalesce((select id from e), 0) as credit_entry_id, a.created_at from a
"""


async def create(
    database: Database, email: str, display_name: str, hashed_password: str, role: Role, credits: int, note: str
) -> Account:
    """Create an account; its first credits are booked as a grant.

    Raises:
        Conflict: `accounts_email_key`, the address is taken.
    """
    row = await database.fetchrow(CREATE, email, display_name, hashed_password, role, credits, note, writes=True)
    assert row is not None
    return Account(**row)


async def get(database: Database, account_id: int) -> Account | None:
    """Give one account."""
    row = await database.fetchrow(f"select {_COLUMNS} from accounts a where a.id = $1", account_id)
    return Account(**row) if row else None


async def credentials(database: Database, email: str) -> Credentials | None:
    """Give the account of an address, in whatever case it is written."""
    sql = f"select {_COLUMNS}, a.hashed_password from accounts a where lower(a.email) = lower($1)"
    row = await database.fetchrow(sql, email)
    return _credentials(row) if row else None


async def credentials_of(database: Database, account_id: int) -> Credentials | None:
    """Give what a change of password is checked against."""
    sql = f"select {_COLUMNS}, a.hashed_password from accounts a where a.id = $1"
    row = await database.fetchrow(sql, account_id)
    return _credentials(row) if row else None


def _credentials(row: Any) -> Credentials:
    values = dict(row)
    hashed = values.pop("hashed_password")
    return Credentials(Account(**values), hashed)


SEARCH = f"""
select {_COLUMNS} from accounts a
where ($1::text is null or a.email ilike $1 or a.display_name ilike $1)
  and ($2::account_role is null or a.role = $2) and ($3::account_status is null or a.status = $3)
  and ($4::bigint is null or a.id < $4)
order by a.id desc limit $5
"""


async def search(
    database: Database, q: str | None, role: Role | None, status: AccountStatus | None, before: int | None, limit: int
) -> list[Account]:
    """Find accounts by a part of the address or name, newest first."""
    pattern = None if q is None else "%" + q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return [Account(**row) for row in await database.fetch(SEARCH, pattern, role, status, before, limit)]


async def change(
    database: Database, account_id: int, role: Role | None, status: AccountStatus | None, display_name: str | None
) -> str:
    """Change an account; a new role revokes its logins. (Those of a suspended account are refused, not forgotten.)

    Returns:
        `changed`, `not_found`, `last_admin`, `owns_personas` or `has_sessions`.
    """
    sql = "select pg_temp.change_account($1, $2::account_role, $3::account_status, $4)"
    outcome: str = await database.fetchval(sql, account_id, role, status, display_name, writes=True)
    return outcome


async def set_password(database: Database, account_id: int, hashed_password: str, keep_login: bytes | None) -> None:
    """Set a password and revoke the account's logins but one."""
    sql = """with a as (
      update accounts set hashed_password = $2, updated_at = clock_timestamp() where id = $1 returning id)
    delete from logins l using a where l.account_id = a.id and ($3::bytea is null or l.token_hash <> $3)"""
    await database.fetch(sql, account_id, hashed_password, keep_login, writes=True)


class Balance(Struct, frozen=True):
    """A balance with the id of its newest entry; of two balances the one with the higher id holds."""

    account_id: int
    credit_balance: int
    credit_entry_id: int


async def balance(database: Database, account_id: int) -> Balance | None:
    """Give an account's balance."""
    sql = f"select a.id, a.credit_balance, {_ENTRY} from accounts a where a.id = $1"
    row = await database.fetchrow(sql, account_id)
    return Balance(*row) if row else None


class StaffMember(Struct, frozen=True):
    """A staff account to whom personas can be handed over; `waiting` counts chats that wait for an answer."""

    id: int
    display_name: str
    waiting: int


STAFF = """
select a.id, a.display_name, count(s.id)
from accounts a left join personas p on p.staff_account_id = a.id
left join sessions s on s.persona_id = p.id and s.waiting_since is not null and s.status = 'active'
where a.role = 'staff' and a.status = 'active' group by a.id order by a.display_name, a.id
"""


async def staff(database: Database) -> list[StaffMember]:
    """Give the active staff."""
    return [StaffMember(*row) for row in await database.fetch(STAFF)]


class Stats(Struct, frozen=True):
    """The house at a glance. Times are seconds over the last hour's answers; None where there were none."""

    accounts: int
    active_sessions: int
    waiting: int
    longest_waiting_since: datetime | None
    sends_last_minute: int
    median_response_seconds: float | None
    p90_response_seconds: float | None
    credits_outstanding: int
    credits_spent_today: int


STATS = """
with answered as (
  select extract(epoch from m.created_at - q.created_at)::float8 as seconds
  from messages m join messages q on q.id = m.prev_id and q.sender_type = 'user'
  where m.sender_type = 'persona' and m.created_at > now() - interval '1 hour'
    and m.id > coalesce((select max(id) - 20000 from messages), 0)),
waiting as (select waiting_since from sessions where waiting_since is not null and status = 'active')
select (select count(*) from accounts), (select count(*) from sessions where status = 'active'),
  (select count(*) from waiting), (select min(waiting_since) from waiting),
  (select count(*) from messages where created_at > now() - interval '1 minute'
    and id > coalesce((select max(id) - 200000 from messages), 0)),
  (select percentile_cont(0.5) within group (order by seconds) from answered),
  (select percentile_cont(0.9) within group (order by seconds) from answered),
  (select coalesce(sum(credit_balance), 0) from accounts),
  (select coalesce(-sum(amount), 0) from credit_entries where kind = 'message' and created_at > now() - interval '1 day'
    and id > coalesce((select max(id) - 1000000 from credit_entries), 0))
"""


async def stats(database: Database) -> Stats:
    """Count what an admin looks at; the newest messages only, so that it stays quick."""
    row = await database.fetchrow(STATS)
    assert row is not None
    return Stats(*row)
