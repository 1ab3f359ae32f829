"""Credits: balances, statements, bookings by admins, refunds."""

from server.actions import announce
from server.auth import Caller
from server.context import Context
from server.errors import Invalid, KeyReused, Refusal
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import accounts, credits, messages
from storage.credits import Grant
from storage.errors import Conflict


def _whose(caller: Caller, account_id: int | None) -> int:
    """Give whose credits are asked for: one's own; for an admin anybody's."""
    if account_id is None or account_id == caller.account_id:
        return caller.account_id
    if caller.role != "admin":
        raise Refusal("not_found")
    return account_id


async def balance(context: Context, caller: Caller, account_id: int | None) -> responses.Balance:
    """Give a balance."""
    found = await accounts.balance(context.book, _whose(caller, account_id))
    if found is None:
        raise Refusal("not_found")
    return responses.Balance(found.account_id, found.credit_balance, found.credit_entry_id)


async def statement(context: Context, caller: Caller, query: requests.EntriesQuery) -> responses.Items[responses.Entry]:
    """Give a page of a statement, newest first."""
    whose = _whose(caller, query.account_id)
    if whose != caller.account_id and await accounts.get(context.book, whose) is None:
        raise Refusal("not_found")
    (before,) = read_cursor(query.cursor, tuple[int]) or (None,)
    found = await credits.entries(context.book, whose, before, query.limit + 1)
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items([responses.Entry.of(entry) for entry in page], cursor)


async def grant(
    context: Context, caller: Caller, body: requests.GrantCredits, key: str | None
) -> tuple[responses.Entry, bool]:
    """Book a grant, a purchase or an adjustment; gives the entry and whether this was a replay."""
    if body.amount == 0 or (body.amount < 0 and body.kind != "adjustment"):
        raise Invalid(("amount", "must be positive; only an adjustment may be negative."))
    booking = Grant(body.account_id, body.amount, body.kind, body.reference, body.note, caller.account_id, key)
    try:
        entry = await credits.grant(context.book, booking)
    except Conflict as conflict:
        return await _replay(context, booking, conflict), True
    if entry is None:
        if key is not None and await credits.by_key(context.book, caller.account_id, key):
            return await _first(context, booking), True  # what was booked once need not fit a second time
        raise await _not_booked(context, booking)
    announce.entry(context, entry)
    return responses.Entry.of(entry), False


async def _not_booked(context: Context, booking: Grant) -> Refusal:
    """Say why nothing was booked."""
    found = await accounts.balance(context.book, booking.account_id)
    if found is None:
        return Invalid(("account_id", "is no account."))
    if booking.amount > 0:
        return Invalid(("amount", "would make the balance too large."))
    return Refusal("balance_too_low", credit_balance=found.credit_balance)


async def _replay(context: Context, booking: Grant, conflict: Conflict) -> responses.Entry:
    """Give what was booked first, if it was the same."""
    if conflict.constraint not in ("credit_entries_kind_reference_key", "credit_entries_created_by_key_key"):
        raise conflict
    return await _first(context, booking)


async def _first(context: Context, booking: Grant) -> responses.Entry:
    first = await credits.by_key(context.book, booking.created_by, booking.idempotency_key or "")
    if first is None:
        raise Invalid(("reference", "was booked before."))
    entry = first.entry
    same = (entry.account_id, entry.amount, entry.kind, entry.note, first.reference)
    if same != (booking.account_id, booking.amount, booking.kind, booking.note, booking.reference):
        raise KeyReused()
    return responses.Entry.of(entry)


async def refund(context: Context, caller: Caller, message_id: int, note: str) -> tuple[responses.Entry, bool]:
    """Pay a message back, once for ever; gives the entry and whether this was a repetition."""
    booked = await credits.refund(context.book, message_id, note, caller.account_id)
    if booked is None:
        if await messages.get(context.book, message_id) is None:
            raise Refusal("not_found")
        raise Invalid(("message_id", "cost nothing, so there is nothing to refund."))
    entry, is_new = booked
    if is_new:
        announce.entry(context, entry)
    return responses.Entry.of(entry), not is_new
