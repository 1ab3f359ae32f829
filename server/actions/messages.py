"""Messages: send one, ask what came after a position, page through history."""

import secrets
from functools import partial

from msgspec import UNSET

from server.actions import announce, waiting
from server.actions.logins import as_long_as_it_holds
from server.auth import Caller
from server.context import Context
from server.errors import Invalid, KeyReused, Refusal
from server.wire.requests import HistoryQuery, Poll, SendMessage
from server.wire.responses import Items, Message, SentMessage
from storage import audit, messages, sessions, templates
from storage.errors import LockTimeout, OutcomeUnknown
from storage.records import Page
from storage.sends import Send, Sent

CONTENT_CHARACTERS = 4_000


def clean_content(text: str) -> str:
    """Give content as the book keeps it: trimmed, line ends as LF.

    Raises:
        Invalid: it is empty, longer than 4,000 code points, or has a NUL.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise Invalid(("content", "must not be empty."))
    if len(text) > CONTENT_CHARACTERS:
        raise Invalid(("content", f"must have at most {CONTENT_CHARACTERS:,} characters; it has {len(text):,}."))
    if "\0" in text:
        raise Invalid(("content", "must not have a NUL character."))
    return text


async def send(context: Context, caller: Caller, body: SendMessage, key: str | None) -> tuple[SentMessage, bool]:
    """Send a message exactly once; gives what was sent and whether this was a replay.

    Raises:
        Refusal: what became of it instead; `outcome_unknown` with the key that settles it.
    """
    content = clean_content(body.content)
    context.limits.take_send(caller.account_id)
    call = Send(
        author_account_id=caller.account_id,
        session_id=body.session_id,
        content=content,
        idempotency_key=key or f"server-{secrets.token_hex(16)}",
        expected_cost=body.expected_cost,
        seen_message_id=body.seen_message_id,
        by_user=caller.is_user,
        landed=partial(announce.message, context),
    )
    try:
        sent = await messages.send(context.book.sends, call)
    except OutcomeUnknown:
        raise Refusal("outcome_unknown", idempotency_key=call.idempotency_key) from None
    except LockTimeout:
        raise Refusal("unavailable") from None
    if sent.outcome not in ("sent", "replayed"):
        raise await _refusal(context, call, sent)
    if body.template_id is not None and sent.outcome == "sent" and not caller.is_user:
        context.tasks.start(templates.used(context.book, body.template_id, caller.account_id), "template use")
    return _answer(call, sent), sent.outcome == "replayed"


def _answer(call: Send, sent: Sent) -> SentMessage:
    message = Message(
        sent.id,
        call.session_id,
        "user" if call.by_user else "persona",
        call.author_account_id if call.by_user else sent.persona_id,
        call.content,
        sent.cost or 0,
        sent.created_at,
    )
    if not call.by_user:
        return SentMessage(message)
    return SentMessage(message, UNSET if sent.balance is None else sent.balance, sent.credit_entry_id or 0)


async def _refusal(context: Context, call: Send, sent: Sent) -> Refusal:
    match sent.outcome:
        case "key_reused":
            return KeyReused()
        case "closed":
            return Refusal("session_closed")
        case "price_changed":
            return Refusal("price_changed", credit_balance=sent.balance, message_cost=sent.cost)
        case "insufficient":
            return Refusal("insufficient_credits", credit_balance=sent.balance, message_cost=sent.cost)
        case "newer_answer":
            missing = await messages.answers_after(context.book, call.session_id, call.seen_message_id or 0)
            return Refusal("newer_answer", messages=[Message.of(message) for message in missing])
        case other:  # suspended, not_found and persona_unavailable are codes themselves
            return Refusal(other)


async def since(
    context: Context, caller: Caller, poll: Poll, patience: waiting.Patience = waiting.NONE
) -> tuple[Page, bool]:
    """Give what came after a position; with patience, hold the answer until there is something or it closes.

    Returns:
        The page, and whether the call was held.
    """
    context.limits.take_poll(caller.account_id)
    position = messages.Position(caller.account_id, poll.session_id, poll.last_message_id)
    try:
        if patience.seconds <= 0:  # the usual poll, without any ceremony
            return await messages.since(context.book, context.book.polls, position), False
        return await waiting.until(
            context,
            caller.account_id,
            patience,
            as_long_as_it_holds(context, caller, lambda: messages.since(context.book, context.book.polls, position)),
            lambda page: bool(page.messages) or page.status == "closed",
        )
    except messages.NoSession:
        raise Refusal("not_found") from None
    except messages.ForeignPosition:
        raise Invalid(("last_message_id", "is a message of another session.")) from None


async def history(context: Context, caller: Caller, query: HistoryQuery) -> Items[Message]:
    """Give a page of history, newest first; its cursor is the next `before_id`. An admin's reading is written down."""
    parties = await sessions.participants(context.book, query.session_id)
    if parties is None or (caller.role != "admin" and caller.account_id not in parties):
        raise Refusal("not_found")
    if caller.role == "admin":
        await audit.record(context.book, caller.account_id, "session.read", "session", query.session_id)
    found = await messages.history(context.book, query.session_id, query.before_id, query.limit + 1)
    page = [Message.of(message) for message in found[: query.limit]]
    return Items(page, str(page[-1].id) if len(found) > query.limit else None)
