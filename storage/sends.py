"""The send that happens exactly once: up to 32 in one transaction, each with an outcome of its own.

`pg_temp.send_messages` holds the cursor rule, the debit rule, the idempotency rule and the revision rule. It is
created on each flight's connection, so that a rolling upgrade meets no other version of it.
"""

from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from storage.database import Lane
from storage.errors import StorageError

SEATS = 32  # sends of a flight: more gained nothing on two cores, and a flight holds its locks until it lands

SendOutcome = Literal[
    "sent",
    "replayed",
    "key_reused",
    "suspended",
    "not_found",
    "closed",
    "persona_unavailable",
    "price_changed",
    "newer_answer",
    "insufficient",
]

FUNCTION = """
create or replace function pg_temp.send_messages(
  p_author bigint[], p_session bigint[], p_content text[], p_key text[], p_expected int[], p_seen bigint[])
returns table(ord int, outcome text, id bigint, prev_id bigint, cost int, balance int, credit_entry_id bigint,
  created_at timestamptz, revision bigint, user_account_id bigint, staff_account_id bigint, persona_id bigint)
language plpgsql volatile as $$
#variable_conflict use_column
declare s record; a record; o record; author bigint; by_user boolean;
begin
 -- The payers, then the sessions, each ascending: the only lock order of the house. They are statements of their own,
 -- for a statement that waited for a lock still sees the world before the wait; what decides is read after them.
 perform from accounts x where x.id in (select q.user_account_id from sessions q
   where q.id = any(p_session) and q.user_account_id = any(p_author)) order by x.id for no key update;
 perform from sessions x where x.id = any(p_session) order by x.id for no key update;
 for i in 1 .. cardinality(p_author) loop
  author := p_author[i]; ord := i; outcome := null; id := null; prev_id := null; cost := null; balance := null;
  credit_entry_id := null; created_at := null; revision := null;
  select x.id, x.status, x.user_account_id, x.persona_id, x.last_message_id, x.revision, x.waiting_since,
    p.staff_account_id staff, p.message_cost price, p.is_active into s
   from sessions x join personas p on p.id = x.persona_id where x.id = p_session[i];
  select x.status, x.credit_balance into a from accounts x where x.id = author;
  by_user := s.user_account_id = author;
  user_account_id := s.user_account_id; staff_account_id := s.staff; persona_id := s.persona_id;
  select m.id, m.session_id, m.content, m.prev_id, m.credit_cost, m.created_at, e.balance_after, e.id entry into o
   from messages m left join credit_entries e on e.message_id = m.id and e.kind = 'message'
   where m.author_account_id = author and m.idempotency_key = p_key[i];
  if found then
   if o.session_id = p_session[i] and o.content = p_content[i] then
    outcome := 'replayed'; id := o.id; prev_id := o.prev_id; cost := o.credit_cost; created_at := o.created_at;
    balance := coalesce(o.balance_after, a.credit_balance); revision := s.revision;
    credit_entry_id := coalesce(o.entry,
      (select e.id from credit_entries e where e.account_id = author order by e.id desc limit 1), 0);
   else outcome := 'key_reused'; end if;
   return next; continue;
  end if;
  cost := case when by_user then s.price else 0 end; balance := a.credit_balance;
  outcome := case when a.status is distinct from 'active' then 'suspended'
   when s.id is null or not (by_user or s.staff = author) then 'not_found'
   when s.status <> 'active' then 'closed'
   when by_user and not s.is_active then 'persona_unavailable'
   when by_user and p_expected[i] <> cost then 'price_changed'
   when not by_user and exists (select from messages m
     where m.session_id = s.id and m.id > p_seen[i] and m.sender_type = 'persona') then 'newer_answer'
   when balance < cost then 'insufficient' end;
  if outcome is not null then return next; continue; end if;
  if cost > 0 then
   update accounts x set credit_balance = x.credit_balance - cost, updated_at = clock_timestamp()
    where x.id = author and x.credit_balance >= cost returning x.credit_balance into strict balance;
  end if;
  prev_id := s.last_message_id;
  insert into messages(session_id, sender_type, sender_id, content, credit_cost, created_at, prev_id,
    author_account_id, idempotency_key)
   values (s.id, case when by_user then 'user' else 'persona' end::sender_type,
    case when by_user then author else s.persona_id end, p_content[i], cost, clock_timestamp(), prev_id,
    author, p_key[i])
   returning messages.id, messages.created_at into id, created_at;
  if cost > 0 then
   insert into credit_entries(account_id, amount, balance_after, kind, message_id, created_at)
    values (author, -cost, balance, 'message', id, created_at) returning credit_entries.id into credit_entry_id;
  elsif by_user then
   credit_entry_id := coalesce(
     (select e.id from credit_entries e where e.account_id = author order by e.id desc limit 1), 0);
  end if;
  update sessions x set last_message_id = send_messages.id, revision = x.revision + 1,
    active_at = send_messages.created_at, updated_at = send_messages.created_at,
    waiting_since = case when by_user then coalesce(x.waiting_since, send_messages.created_at) end
   where x.id = s.id returning x.revision into revision;
  outcome := 'sent'; return next;
 end loop;
end $$;
"""

SEND = """
select outcome, id, prev_id, cost, balance, credit_entry_id, created_at, revision,
  user_account_id, staff_account_id, persona_id
from pg_temp.send_messages($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::int[], $6::bigint[]) order by ord
"""


class Sent(Struct, frozen=True):
    """What became of a send. After `sent` and `replayed` every field is there; else `cost` and `balance` may be."""

    outcome: SendOutcome
    id: int
    prev_id: int
    cost: int | None
    balance: int | None
    credit_entry_id: int | None
    created_at: datetime
    revision: int
    user_account_id: int
    staff_account_id: int
    persona_id: int


class Send(Struct, frozen=True):
    """One send: content is trimmed and checked; `by_user` says whether the author pays.

    `landed` hears of the message as the flight lands, even when the caller is gone.
    """

    author_account_id: int
    session_id: int
    content: str
    idempotency_key: str
    expected_cost: int | None
    seen_message_id: int | None
    by_user: bool
    landed: Callable[["Send", Sent], None]


class SendFlight:
    """Up to 32 sends in one transaction: one WAL flush, no lock held across a round trip."""

    writes = True

    def keys(self, call: Send) -> Sequence[Hashable]:
        """A session's sends, and a payer's, keep their order of arrival."""
        session = ("session", call.session_id)
        return (session, ("payer", call.author_account_id)) if call.by_user else (session,)

    async def fly(self, lane: Lane, calls: Sequence[Send]) -> Sequence[Sent | StorageError]:
        """Carry the sends in one call of the function."""
        rows = await lane.fetch(
            SEND,
            [call.author_account_id for call in calls],
            [call.session_id for call in calls],
            [call.content for call in calls],
            [call.idempotency_key for call in calls],
            [call.expected_cost for call in calls],
            [call.seen_message_id for call in calls],
        )
        return [Sent(*row) for row in rows]

    def landed(self, call: Send, outcome: Sent, *, again: bool) -> None:
        """Announce what is new; a replay found by our own retry was never announced."""
        if outcome.outcome == "sent" or (again and outcome.outcome == "replayed"):
            call.landed(call, outcome)
