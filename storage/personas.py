"""Personas: the identities that staff answer as, and their hand-over from one staff account to another."""

from typing import Any

from msgspec import Struct

from storage.database import Database
from storage.records import Persona

_COLUMNS = """id, staff_account_id, name, avatar_url, bio, attributes, guide, is_active, message_cost,
  created_at, updated_at"""

FUNCTIONS = """
create or replace function pg_temp.hand_over(p_persona bigint, p_from bigint, p_to bigint)
returns table(outcome text, was bigint, session_id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare p record;
begin
 perform from accounts x where x.id = p_to for share;  -- a change of role waits, or was before
 -- Then the persona's sessions, ascending, as a send does; only then the persona, and what decides.
 perform from sessions x where x.persona_id = p_persona order by x.id for no key update;
 select x.staff_account_id into p from personas x where x.id = p_persona for no key update;
 outcome := case when not found then 'not_found'
  when p_from is not null and p.staff_account_id <> p_from then 'not_found'
  when not exists (select from accounts a where a.id = p_to and a.role = 'staff' and a.status = 'active')
   then 'not_staff'
  when p.staff_account_id = p_to then 'same' else 'handed_over' end;
 was := p.staff_account_id;
 if outcome <> 'handed_over' then return next; return; end if;
 update personas x set staff_account_id = p_to, updated_at = clock_timestamp() where x.id = p_persona;
 return next;
 return query update sessions x set revision = x.revision + 1, updated_at = clock_timestamp()
  where x.persona_id = p_persona returning 'session', null::bigint, x.id;
end $$;
"""


async def create(database: Database, staff_account_id: int, fields: dict[str, Any]) -> Persona | None:
    """Create a persona of an active staff account (None: it is none); `fields` are columns by name."""
    sql = f"""with a as (
      select id from accounts where id = $1 and role = 'staff' and status = 'active' for share)
    insert into personas(staff_account_id, name, avatar_url, bio, attributes, guide, is_active, message_cost)
    select a.id, $2, $3, $4, $5, $6, $7, $8 from a returning {_COLUMNS}"""
    names = ("name", "avatar_url", "bio", "attributes", "guide", "is_active", "message_cost")
    row = await database.fetchrow(sql, staff_account_id, *(fields[name] for name in names), writes=True)
    return Persona(**row) if row else None


async def edit(database: Database, persona_id: int, owner_id: int | None, fields: dict[str, Any]) -> Persona | None:
    """Change some columns of a persona that `owner_id` owns (None: whoever owns it)."""
    sql = f"""update personas set name = coalesce($3, name), avatar_url = coalesce($4, avatar_url),
      bio = coalesce($5, bio), attributes = coalesce($6, attributes), guide = coalesce($7, guide),
      is_active = coalesce($8, is_active), message_cost = coalesce($9, message_cost), updated_at = clock_timestamp()
    where id = $1 and ($2::bigint is null or staff_account_id = $2) returning {_COLUMNS}"""
    names = ("name", "avatar_url", "bio", "attributes", "guide", "is_active", "message_cost")
    row = await database.fetchrow(sql, persona_id, owner_id, *(fields.get(name) for name in names), writes=True)
    return Persona(**row) if row else None


class HandOver(Struct, frozen=True):
    """What became of a hand-over: `handed_over`, `same`, `not_found` or `not_staff`; whose it was, what it moved."""

    outcome: str
    was: int | None
    session_ids: list[int]


async def hand_over(database: Database, persona_id: int, from_id: int | None, to_id: int) -> HandOver:
    """Give a persona with all its sessions to another staff account, in one transaction.

    Args:
        from_id: who must own it, None for an admin's hand-over.
    """
    sql = "select outcome, was, session_id from pg_temp.hand_over($1, $2, $3)"
    first, *rest = await database.fetch(sql, persona_id, from_id, to_id, writes=True)
    return HandOver(first["outcome"], first["was"], [row["session_id"] for row in rest])


async def get(database: Database, persona_id: int) -> Persona | None:
    """Give one persona."""
    row = await database.fetchrow(f"select {_COLUMNS} from personas where id = $1", persona_id)
    return Persona(**row) if row else None


async def visible(
    database: Database, *, active_only: bool, or_owned_by: int | None, after: int | None, limit: int
) -> list[Persona]:
    """Give personas in order of id: all, or the active ones and those of one staff account."""
    sql = f"""select {_COLUMNS} from personas
    where (not $1 or is_active or staff_account_id = $2) and ($3::bigint is null or id > $3) order by id limit $4"""
    rows = await database.fetch(sql, active_only, or_owned_by, after, limit)
    return [Persona(**row) for row in rows]
