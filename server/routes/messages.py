"""/messages: the poll, the send, history, refunds."""

from datetime import UTC, datetime

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from server.actions import credits, messages
from server.routes import pace
from server.routes.door import JSON, Call, answer
from server.wire.codec import encode, idempotency_key
from server.wire.responses import Message
from storage.records import Page

POLL_BYTES = 1 << 20
# Made once: a header name that is looked up by its text costs ten times as much.
REVISION, BALANCE = istr("X-Session-Revision"), istr("X-Credit-Balance")


async def poll(call: Call) -> web.Response:
    """Give what came after a position: a bare JSON array, ascending."""
    patience = call.patience
    page, held = await messages.since(call.context, call.caller, call.query, patience)
    body, more = _rows(page) if page.messages else (b"[]", False)
    headers = CIMultiDict(
        {
            hdrs.CONTENT_TYPE: JSON,
            pace.NEXT_POLL: str(0 if more else _pace_ms(call, page, held=held)),
            REVISION: str(page.revision),
        }
    )
    if page.credit_balance is not None:
        headers[BALANCE] = str(page.credit_balance)
    if held:
        headers["Preference-Applied"] = f"wait={min(patience.seconds, 25)}"
    return web.Response(body=body, headers=headers)


def _rows(page: Page) -> tuple[bytes, bool]:
    """Encode as many messages as fit in 1 MiB, and say whether more wait."""
    rows: list[bytes] = []
    size = 2
    for message in page.messages:
        row = encode(Message.of(message))
        size += len(row) + 1
        if rows and size > POLL_BYTES:
            return b"[" + b",".join(rows) + b"]", True
        rows.append(row)
    return b"[" + b",".join(rows) + b"]", page.more


def _pace_ms(call: Call, page: Page, *, held: bool) -> int:
    if held and page.status != "closed":  # nobody waits at a closed chat, so its next call would be answered at once
        base = pace.HELD_MS
    elif page.messages or (quiet := (datetime.now(UTC) - page.active_at).total_seconds()) < 60:
        base = pace.ACTIVE_MS
    else:
        base = pace.CALM_MS if quiet < 600 else pace.IDLE_MS
    return pace.next_ms(call.context, call.caller.account_id, base)


async def send(call: Call) -> web.Response:
    """Send a message exactly once."""
    key = idempotency_key(call.request.headers.get("Idempotency-Key"))
    sent, replayed = await messages.send(call.context, call.caller, call.body, key)
    return answer(sent, 201, REPLAYED if replayed else None)


REPLAYED = {"Idempotent-Replayed": "true"}


async def history(call: Call) -> web.Response:
    """Give a page of history, newest first."""
    return answer(await messages.history(call.context, call.caller, call.query))


async def refund(call: Call) -> web.Response:
    """Pay a message back, once for ever."""
    entry, repeated = await credits.refund(call.context, call.caller, call.id(), call.body.note)
    return answer(entry, 200 if repeated else 201)
