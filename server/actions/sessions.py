"""Sessions: open, close, read, the inbox, and what changed since a client last looked."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET

from server.actions import announce, waiting
from server.actions.logins import as_long_as_it_holds
from server.auth import Caller
from server.context import Context
from server.errors import Invalid, Refusal
from server.wire import responses
from server.wire.codec import cut, read_cursor
from server.wire.requests import InboxQuery
from storage import accounts, sessions
from storage.accounts import Balance
from storage.errors import Conflict
from storage.records import Session

# Sessions in one answer to /sessions/changes; who has more asks again with what it knows by then.
CHANGES_MOST = 500


async def _wire(context: Context, caller: Caller, records: Sequence[Session]) -> list[responses.Session]:
    members = {str(id_) for record in records for id_ in (record.user_account_id, record.staff_account_id)}
    online = {int(member) for member in await context.presence.online(members)} if members else set()
    return [responses.Session.of(record, online=online, for_staff=not caller.is_user) for record in records]


async def _own(context: Context, caller: Caller, session_id: int) -> Session:
    record = await sessions.get(context.book, session_id, caller.account_id)
    if record is None or caller.account_id not in (record.user_account_id, record.staff_account_id):
        raise Refusal("not_found")
    return record


async def get(context: Context, caller: Caller, session_id: int) -> responses.Session:
    """Give one session of the caller's."""
    return (await _wire(context, caller, [await _own(context, caller, session_id)]))[0]


async def open_(context: Context, caller: Caller, persona_id: int) -> tuple[responses.Session, bool]:
    """Open the caller's session with a persona; gives it and whether it is new."""
    try:
        opened = await sessions.open_(context.book, caller.account_id, persona_id)
    except Conflict:  # another device opened it at the same moment: now it is there
        opened = await sessions.open_(context.book, caller.account_id, persona_id)
    if opened.session_id is None or opened.outcome not in ("opened", "reopened", "exists"):
        raise Refusal(opened.outcome)
    record = await _own(context, caller, opened.session_id)
    if opened.outcome != "exists":
        await announce.session(context, record)
    return (await _wire(context, caller, [record]))[0], opened.outcome == "opened"


async def _change(
    context: Context,
    caller: Caller,
    session_id: int,
    *,
    close: bool = False,
    waits: bool | None = None,
    read_id: int | None = None,
) -> tuple[Session, int | None]:
    """Change a session; gives it as it is now, and the revision that this change made, if it changed anything."""
    changed = await sessions.change(
        context.book, session_id, caller.account_id, close=close, waiting=waits, read_id=read_id
    )
    if changed.outcome == "foreign_message":
        raise Invalid(("message_id", "is not a message of this session."))
    if changed.outcome in ("not_found", "forbidden"):
        raise Refusal(changed.outcome)
    return await _own(context, caller, session_id), changed.revision


async def close(context: Context, caller: Caller, session_id: int) -> responses.Session:
    """Close a session; closing a closed one changes nothing."""
    record, revision = await _change(context, caller, session_id, close=True)
    if revision:
        await announce.session(context, record)
    return (await _wire(context, caller, [record]))[0]


async def set_waiting(context: Context, caller: Caller, session_id: int, waits: bool) -> responses.Session:
    """Say as staff that a chat needs no answer, or that it does after all."""
    record, revision = await _change(context, caller, session_id, waits=waits)
    if revision:
        await announce.session(context, record)
    return (await _wire(context, caller, [record]))[0]


async def read(context: Context, caller: Caller, session_id: int, message_id: int) -> responses.Session:
    """Move the caller's read position, only ever forward."""
    record, revision = await _change(context, caller, session_id, read_id=message_id)
    if revision:
        announce.read(context, record, caller.is_user, message_id, revision)
    return (await _wire(context, caller, [record]))[0]


async def inbox(context: Context, caller: Caller, query: InboxQuery) -> responses.Items[responses.Session]:
    """Give a page of the caller's sessions: newest activity first, or longest waiting first."""
    by_waiting = query.sort == "waiting"
    after = read_cursor(query.cursor, tuple[bool, datetime | None, int])
    if after is not None and after[0] != by_waiting:
        raise Invalid(("cursor", "is of another sorting of this collection."))
    found = await sessions.inbox(
        context.book,
        caller.account_id,
        sessions.InboxQuery(
            query.status,
            query.persona_id,
            query.waiting,
            by_waiting,
            after and (after[1], after[2]),
            query.limit + 1,
        ),
    )
    page, cursor = cut(
        found,
        query.limit,
        lambda last: [by_waiting, last.waiting_since if by_waiting else last.active_at, last.id],
    )
    return responses.Items(await _wire(context, caller, page), cursor)


async def _balance(context: Context, caller: Caller) -> Balance | None:
    """Give the balance of a user; nobody else has one."""
    return await accounts.balance(context.book, caller.account_id) if caller.is_user else None


async def changes(
    context: Context, caller: Caller, known: dict[int, int], patience: waiting.Patience = waiting.NONE
) -> tuple[responses.SessionChanges, bool]:
    """Give the sessions whose revision differs from what the client knows, and a user's balance.

    With patience, once there are some, or the balance is another.
    """
    context.limits.take_poll(caller.account_id)
    before = await _balance(context, caller) if patience.seconds else None

    async def look() -> tuple[sessions.Changes, Balance | None]:
        found = await sessions.changes(context.book, caller.account_id, known, CHANGES_MOST)
        return found, await _balance(context, caller)

    (found, newest), held = await waiting.until(
        context,
        caller.account_id,
        patience,
        as_long_as_it_holds(context, caller, look),
        lambda seen: bool(seen[0].items or seen[0].gone) or (before is not None and seen[1] != before),
    )
    items = await _wire(context, caller, found.items)
    return responses.SessionChanges(
        items,
        found.gone,
        newest.credit_balance if newest else UNSET,
        newest.credit_entry_id if newest else UNSET,
    ), held
