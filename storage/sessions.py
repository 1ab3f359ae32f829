"""Sessions: the chats, the inbox, the read positions. Every lasting change raises `revision` under the row's lock."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from storage.database import Database, Row
from storage.records import LastMessage, Session, SessionStatus

UNREAD_MOST = 100  # where the count stops: nobody reads "unread: 4,211", and counting on costs
PREVIEW_CHARACTERS = 120
# Who comes or goes is told in these many chats, the most lively ones: more than anybody looks at.
COUNTERPARTS_MOST = 1_000

FUNCTIONS = """
create or replace function pg_temp.open_session(p_user bigint, p_persona bigint)
returns table(outcome text, session_id bigint) language plpgsql volatile as $$
#variable_conflict use_column
declare a record; p record; s record;
begin
 perform from accounts x where x.id = p_user for share;  -- a change of role waits, or was before
 select x.role, x.status into a from accounts x where x.id = p_user;
 outcome := case when a.role <> 'user' then 'forbidden' when a.status <> 'active' then 'suspended' end;
 if outcome is not null then return next; return; end if;
 perform from sessions x where x.user_account_id = p_user and x.persona_id = p_persona for no key update;
 select x.is_active into p from personas x where x.id = p_persona;
 if not found then outcome := 'not_found'; return next; return; end if;
 select x.id, x.status into s from sessions x where x.user_account_id = p_user and x.persona_id = p_persona;
 if found then
  session_id := s.id; outcome := 'exists';
  if s.status = 'closed' and not p.is_active then outcome := 'persona_unavailable';
  elsif s.status = 'closed' then
   outcome := 'reopened';
   update sessions x set status = 'active', revision = x.revision + 1, active_at = clock_timestamp(),
     updated_at = clock_timestamp() where x.id = s.id;
  end if;
  return next; return;
 end if;
 if not p.is_active then outcome := 'persona_unavailable'; return next; return; end if;
 insert into sessions(user_account_id, persona_id) values (p_user, p_persona) returning id into session_id;
 outcome := 'opened'; return next;
end $$;

create or replace function pg_temp.change_session(
  p_session bigint, p_account bigint, p_close boolean, p_waiting boolean, p_read bigint)
returns table(outcome text, revision bigint) language plpgsql volatile as $$
declare s record; changed boolean := false;
begin
 perform from sessions x where x.id = p_session for no key update;
 select x.*, p.staff_account_id staff into s from sessions x join personas p on p.id = x.persona_id
  where x.id = p_session;
 if not found or not (s.user_account_id = p_account or s.staff = p_account) then
  outcome := 'not_found'; return next; return;
 end if;
 if p_close and s.status = 'active' then
  update sessions x set status = 'closed', waiting_since = null where x.id = p_session; changed := true;
 end if;
 if p_waiting is not null and s.user_account_id = p_account then
  outcome := 'forbidden'; return next; return;
 end if;
 if p_waiting is not null and p_waiting <> (s.waiting_since is not null) and s.status = 'active' then
  update sessions x set waiting_since = case when p_waiting then clock_timestamp() end where x.id = p_session;
  changed := true;
 end if;
 if p_read is not null then
  if p_read > 0 and not exists (select from messages m where m.id = p_read and m.session_id = p_session) then
   outcome := 'foreign_message'; return next; return;
  end if;
  if s.user_account_id = p_account and p_read > s.user_read_id then
   update sessions x set user_read_id = p_read where x.id = p_session; changed := true;
  elsif s.user_account_id <> p_account and p_read > s.persona_read_id then
   update sessions x set persona_read_id = p_read where x.id = p_session; changed := true;
  end if;
 end if;
 if not changed then outcome := 'same'; return next; return; end if;
 update sessions x set revision = x.revision + 1, updated_at = clock_timestamp() where x.id = p_session
  returning 'changed', x.revision into outcome, revision;
 return next;
end $$;
"""

_SESSION = """s.id, s.status, s.revision, s.user_account_id, u.display_name as user_display_name, s.persona_id,
  p.name as persona_name, p.avatar_url as persona_avatar_url, p.message_cost, p.staff_account_id, s.last_message_id,
  s.user_read_id, s.persona_read_id, s.waiting_since, s.active_at, s.created_at, s.updated_at"""
_FROM = "from sessions s join accounts u on u.id = s.user_account_id join personas p on p.id = s.persona_id"

# What depends on the reader ($1): unread messages of the other side, and the newest message's preview.
_READ = f"""{_SESSION}, n.unread_count, m.sender_type as last_sender_type, m.created_at as last_created_at,
  left(m.content, {PREVIEW_CHARACTERS}) as preview
{_FROM} left join messages m on m.id = s.last_message_id
cross join lateral (select count(*) as unread_count from (
  select from messages x where x.session_id = s.id
    and x.id > case when s.user_account_id = $1 then s.user_read_id else s.persona_read_id end
    and x.sender_type = case when s.user_account_id = $1 then 'persona' else 'user' end::sender_type
    and s.last_message_id > case when s.user_account_id = $1 then s.user_read_id else s.persona_read_id end
  limit {UNREAD_MOST}) y) n"""


def _session(row: Row) -> Session:
    values: dict[str, Any] = dict(row)
    sender_type = values.pop("last_sender_type", None)
    created_at = values.pop("last_created_at", None)
    preview = values.pop("preview", None)
    if sender_type is not None:
        values["last_message"] = LastMessage(values["last_message_id"], sender_type, preview, created_at)
    return Session(**values)


class Opened(Struct, frozen=True):
    """`opened`, `reopened`, `exists` and the session; or why not.

    That is `not_found`, `persona_unavailable`, `suspended`, or `forbidden` for who is no user any more.
    """

    outcome: str
    session_id: int | None


async def open_(database: Database, user_account_id: int, persona_id: int) -> Opened:
    """Open the one session of a user and a persona; a closed one opens again, with its history.

    Raises:
        Conflict: somebody opened it at the same moment; the second try finds it.
    """
    sql = "select outcome, session_id from pg_temp.open_session($1, $2)"
    row = await database.fetchrow(sql, user_account_id, persona_id, writes=True)
    assert row is not None
    return Opened(*row)


class Changed(Struct, frozen=True):
    """What became of a change: `changed` and the revision that it made, or why nothing changed.

    That is `same`, `not_found`, `forbidden` (a user may not set waiting) or `foreign_message`.
    """

    outcome: str
    revision: int | None


async def change(
    database: Database,
    session_id: int,
    account_id: int,
    *,
    close: bool = False,
    waiting: bool | None = None,
    read_id: int | None = None,
) -> Changed:
    """Change a session as one of its participants."""
    sql = "select outcome, revision from pg_temp.change_session($1, $2, $3, $4, $5)"
    row = await database.fetchrow(sql, session_id, account_id, close, waiting, read_id, writes=True)
    assert row is not None
    return Changed(*row)


async def get(database: Database, session_id: int, reader_id: int) -> Session | None:
    """Give one session as `reader_id` reads it. Who may read is the caller's question."""
    row = await database.fetchrow(f"select {_READ} where s.id = $2", reader_id, session_id)
    return _session(row) if row else None


async def states(database: Database, session_ids: Sequence[int]) -> list[Session]:
    """Give sessions without what depends on the reader, as events carry them."""
    rows = await database.fetch(f"select {_SESSION} {_FROM} where s.id = any($1::bigint[])", list(session_ids))
    return [_session(row) for row in rows]


class InboxQuery(Struct, frozen=True):
    """Which of an account's sessions, and where the last page ended: (time, id), without a time if it did not wait."""

    status: SessionStatus | None
    persona_id: int | None
    waiting: bool | None
    by_waiting: bool
    after: tuple[datetime | None, int] | None
    limit: int


# The page is chosen before anything is counted, so that only its rows pay for unread counts and previews.
_INBOX = """
with page as (
  select s.id, {key} as sort_key from sessions s join personas o on o.id = s.persona_id
  where (s.user_account_id = $1 or o.staff_account_id = $1)
    and ($2::session_status is null or s.status = $2) and ($3::bigint is null or s.persona_id = $3)
    and ($4::boolean is null or (s.waiting_since is not null) = $4)
    and ($6::bigint is null or ({key}, s.id) {after} (coalesce($5::timestamptz, 'infinity'), $6))
  order by {key} {direction}, s.id {direction} limit $7)
select {read} join page on page.id = s.id order by page.sort_key {direction}, s.id {direction}
"""
INBOX = _INBOX.format(key="s.active_at", after="<", direction="desc", read=_READ)
WAITING = _INBOX.format(key="coalesce(s.waiting_since, 'infinity')", after=">", direction="asc", read=_READ)


async def inbox(database: Database, account_id: int, query: InboxQuery) -> list[Session]:
    """Give a page of an account's sessions: newest activity first, or longest waiting first."""
    time, id_ = query.after or (None, None)
    rows = await database.fetch(
        WAITING if query.by_waiting else INBOX,
        account_id,
        query.status,
        query.persona_id,
        query.waiting,
        time,
        id_,
        query.limit,
    )
    return [_session(row) for row in rows]


class Changes(Struct, frozen=True):
    """The sessions that differ from what a client knows, and those that are no longer its own."""

    items: list[Session]
    gone: list[int]


_OWN = """select s.id, s.revision, s.active_at from sessions s where s.user_account_id = $1
  union all select s.id, s.revision, s.active_at from sessions s join personas p on p.id = s.persona_id
  where p.staff_account_id = $1"""

CHANGED = f"""
with own as ({_OWN}),
changed as (select own.id from own
  left join unnest($2::bigint[], $3::bigint[]) as k(id, revision) on k.id = own.id
  where k.id is null or k.revision <> own.revision order by own.active_at desc, own.id desc limit $4)
select {_READ} where s.id in (select id from changed) order by s.active_at desc, s.id desc
"""

GONE_SESSIONS = f"""
with own as ({_OWN}) select k.id from unnest($2::bigint[]) as k(id)
where not exists (select from own where own.id = k.id) order by k.id
"""


async def changes(database: Database, account_id: int, known: dict[int, int], limit: int) -> Changes:
    """Compare the revisions that a client knows with the book; two queries for any number of sessions."""
    ids = list(known)
    rows = await database.fetch(CHANGED, account_id, ids, list(known.values()), limit)
    gone = await database.fetch(GONE_SESSIONS, account_id, ids) if ids else []
    return Changes([_session(row) for row in rows], [row["id"] for row in gone])


async def participants(database: Database, session_id: int) -> tuple[int, int] | None:
    """Give the account ids of the user and of the persona's staff."""
    sql = """select s.user_account_id, p.staff_account_id from sessions s join personas p on p.id = s.persona_id
    where s.id = $1"""
    row = await database.fetchrow(sql, session_id)
    return (row[0], row[1]) if row else None


async def counterparts(database: Database, account_id: int) -> list[tuple[int, int, int]]:
    """Give (session, user, staff) of an account's active sessions: who may be told of its presence."""
    sql = """select s.id, s.user_account_id, p.staff_account_id from sessions s join personas p on p.id = s.persona_id
    where s.status = 'active' and (s.user_account_id = $1 or p.staff_account_id = $1)
    order by s.active_at desc limit $2"""
    return [(row[0], row[1], row[2]) for row in await database.fetch(sql, account_id, COUNTERPARTS_MOST)]


class Head(Struct, frozen=True):
    """How far a session is: enough for a client to know that it missed something."""

    account_id: int
    session_id: int
    message_id: int
    revision: int


HEADS = """
select c.account_id, s.id, s.last_message_id, s.revision from unnest($1::bigint[]) as c(account_id)
join sessions s on s.user_account_id = c.account_id where $2::timestamptz is null or s.updated_at > $2
union all
select c.account_id, s.id, s.last_message_id, s.revision from unnest($1::bigint[]) as c(account_id)
join personas p on p.staff_account_id = c.account_id join sessions s on s.persona_id = p.id
where $2::timestamptz is null or s.updated_at > $2
"""


async def heads(database: Database, account_ids: Sequence[int], since: datetime | None) -> list[Head]:
    """Give the heads of all sessions of some accounts, or of those that changed after `since`."""
    return [Head(*row) for row in await database.fetch(HEADS, list(account_ids), since)]
