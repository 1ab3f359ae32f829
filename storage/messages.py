"""Messages: send one by the batched transaction of `storage.sends`, and *what came after N?*"""

from collections.abc import Hashable, Sequence

from msgspec import Struct

from storage.batch import Batcher
from storage.database import Database, Lane, Row
from storage.errors import StorageError
from storage.records import Message, Page
from storage.sends import Send, Sent

POLL_SEATS = 128  # an index probe each
POLL_ROWS = 32  # rows of one call in the batched lane; who has more to come is asked again alone
PAGE_ROWS = 500
PAGE_BYTES = 1 << 20

_SINCE = """
select c.ord, s.status, s.revision, s.last_message_id, s.active_at, a.credit_balance,
  c.after <> 0 and c.after <> s.last_message_id and exists (
    select from messages x where x.id = c.after and x.session_id <> s.id) as foreign_position,
  m.id, m.sender_type, m.sender_id, m.content, m.credit_cost, m.created_at, m.prev_id
from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality as c(account, session, after, ord)
join sessions s on s.id = c.session
join personas p on p.id = s.persona_id
left join accounts a on a.id = c.account and a.id = s.user_account_id
left join lateral ({rows}) m on true
where s.user_account_id = c.account or p.staff_account_id = c.account
order by c.ord, m.id
"""

# The idle case touches no message at all: the position is the session's last one.
SINCE = _SINCE.format(
    rows=f"""select x.* from messages x where x.session_id = s.id and x.id > c.after and c.after < s.last_message_id
  order by x.id limit {POLL_ROWS + 1}"""
)

SINCE_ALONE = _SINCE.format(
    rows="""select y.* from (
    select x.*, sum(octet_length(x.content)) over (order by x.id) as bytes, row_number() over (order by x.id) as n
    from (select * from messages where session_id = s.id and id > c.after order by id limit $4) x) y
  where y.n = 1 or y.bytes <= $5"""
)


class Position(Struct, frozen=True):
    """A reader's position in a session: the last message id that it holds."""

    account_id: int
    session_id: int
    last_message_id: int


class ForeignPosition(StorageError):
    """The position names a message of another session."""


class NoSession(StorageError):
    """There is no such session among those the account takes part in."""


class PollFlight:
    """Many polls, each an index probe, in one round trip."""

    writes = False

    def keys(self, call: Position) -> Sequence[Hashable]:
        """Reads have no order to keep."""
        return ()

    async def fly(self, lane: Lane, calls: Sequence[Position]) -> Sequence[Page | StorageError]:
        """Answer all positions by one query."""
        rows = await lane.fetch(
            SINCE,
            [call.account_id for call in calls],
            [call.session_id for call in calls],
            [call.last_message_id for call in calls],
        )
        outcomes: list[Page | StorageError] = [NoSession() for _ in calls]
        start = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or rows[end][0] != rows[start][0]:
                index = rows[start][0] - 1
                outcomes[index] = _page(calls[index].session_id, rows[start:end], POLL_ROWS)
                start = end
        return outcomes

    def landed(self, call: Position, outcome: Page, *, again: bool) -> None:
        """Nobody needs to hear of a read."""


def _page(session_id: int, rows: Sequence[Row], limit: int) -> Page | StorageError:
    _, status, revision, last_message_id, active_at, balance, is_foreign, first_id, *_ = rows[0]
    if is_foreign:
        return ForeignPosition()
    if first_id is None:  # the idle case
        return Page([], False, status, revision, last_message_id, active_at, balance)
    messages = [_message(session_id, row) for row in rows[:limit]]
    more = messages[-1].id < last_message_id
    return Page(messages, more, status, revision, last_message_id, active_at, balance)


def _message(session_id: int, row: Row) -> Message:
    return Message(
        row["id"],
        session_id,
        row["sender_type"],
        row["sender_id"],
        row["content"],
        row["credit_cost"],
        row["created_at"],
        row["prev_id"],
    )


async def send(sends: Batcher[Send, Sent], call: Send) -> Sent:
    """Send a message exactly once; the outcome says what became of it.

    Raises:
        Unavailable: surely not sent.
        OutcomeUnknown: it may have been sent; the same key tells.
    """
    return await sends.call(call)


async def since(
    database: Database,
    polls: Batcher[Position, Page],
    position: Position,
    *,
    rows: int = PAGE_ROWS,
    size: int = PAGE_BYTES,
) -> Page:
    """Give what came after a position, in order: at most `rows` messages and about `size` bytes of content.

    Raises:
        NoSession: the account takes part in no such session.
        ForeignPosition: the position is a message of another session.
        Unavailable: PostgreSQL is away.
    """
    page = await polls.call(position)
    if not page.more or len(page.messages) >= rows:
        return page
    found = await database.fetch(
        SINCE_ALONE, [position.account_id], [position.session_id], [position.last_message_id], rows, size
    )
    if not found:
        raise NoSession()
    alone = _page(position.session_id, found, rows)
    if isinstance(alone, StorageError):
        raise alone
    return alone


HISTORY = """
select id, session_id, sender_type, sender_id, content, credit_cost, created_at, prev_id
from messages where session_id = $1 and ($2::bigint is null or id < $2) order by id desc limit $3
"""


async def history(database: Database, session_id: int, before_id: int | None, limit: int) -> list[Message]:
    """Give a page of a session's messages, newest first. Who may read is the caller's question."""
    return [Message(*row) for row in await database.fetch(HISTORY, session_id, before_id, limit)]


ANSWERS_AFTER = """
select id, session_id, sender_type, sender_id, content, credit_cost, created_at, prev_id
from messages where session_id = $1 and id > $2 order by id limit 50
"""


async def answers_after(database: Database, session_id: int, message_id: int) -> list[Message]:
    """Give the messages that an author had not seen, at most 50."""
    return [Message(*row) for row in await database.fetch(ANSWERS_AFTER, session_id, message_id)]


MESSAGE = """
select id, session_id, sender_type, sender_id, content, credit_cost, created_at, prev_id from messages where id = $1
"""


async def get(database: Database, message_id: int) -> Message | None:
    """Give one message."""
    row = await database.fetchrow(MESSAGE, message_id)
    return Message(*row) if row else None
