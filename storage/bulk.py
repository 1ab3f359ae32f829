"""Many accounts, logins, personas and sessions at once, for load tests."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from storage.database import Database
from storage.records import Role


async def create_accounts(
    database: Database, emails: Sequence[str], hashed_password: str, role: Role, credits: int
) -> list[tuple[int, str]]:
    """Create accounts with the same password and credits; gives their ids with their addresses."""
    sql = """with a as (
      insert into accounts(email, display_name, hashed_password, role, credit_balance)
      select e.email, split_part(e.email, '@', 1), $2, $3::account_role, $4
      from unnest($1::text[]) with ordinality as e(email, ord) order by e.ord returning id, email, credit_balance),
    entries as (
      insert into credit_entries(account_id, amount, balance_after, kind, note)
      select id, credit_balance, credit_balance, 'grant', 'Load test' from a where credit_balance > 0)
    select id, email from a order by id"""
    rows = await database.fetch(sql, list(emails), hashed_password, role, credits, writes=True)
    return [(row[0], row[1]) for row in rows]


async def create_logins(database: Database, accounts: Mapping[bytes, int], expires_at: datetime) -> None:
    """Create a login for each token hash."""
    sql = """insert into logins(token_hash, account_id, expires_at)
    select l.token_hash, l.account_id, $3 from unnest($1::bytea[], $2::bigint[]) as l(token_hash, account_id)"""
    await database.fetch(sql, list(accounts), list(accounts.values()), expires_at, writes=True)


async def create_personas(database: Database, staff_ids: Sequence[int]) -> dict[int, int]:
    """Create a persona for each staff account; gives its id by the account's."""
    sql = """insert into personas(staff_account_id, name)
    select s.id, 'Persona ' || s.id from unnest($1::bigint[]) as s(id) returning staff_account_id, id"""
    return {row[0]: row[1] for row in await database.fetch(sql, list(staff_ids), writes=True)}


async def create_sessions(database: Database, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Create a session for each (user, persona); gives (session, user, persona)."""
    sql = """insert into sessions(user_account_id, persona_id)
    select s.u, s.p from unnest($1::bigint[], $2::bigint[]) as s(u, p) returning id, user_account_id, persona_id"""
    rows = await database.fetch(sql, [pair[0] for pair in pairs], [pair[1] for pair in pairs], writes=True)
    return [(row[0], row[1], row[2]) for row in rows]
