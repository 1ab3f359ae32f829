"""/messages: the poll, the send, history, refunds."""

import random
from datetime import UTC, datetime

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from server.actions import credits, messages
from server.context import Context
from server.routes.door import JSON, Call, answer
from server.wire.codec import encode, idempotency_key
from server.wire.responses import Message
from storage.records import Page

POLL_BYTES = 1 << 20
# Made once: a header name that is looked up by its text costs ten times as much.
NEXT_POLL, REVISION, BALANCE = istr("X-Next-Poll-Ms"), istr("X-Session-Revision"), istr("X-Credit-Balance")
# How soon a poller should come back, in ms: after something arrived or within a minute of it, within ten, later.
PACE_ACTIVE_MS, PACE_CALM_MS, PACE_IDLE_MS = 1_000, 3_000, 10_000
# Whose call was held may ask again almost at once: the waiting is done in the call.
PACE_HELD_MS = 100
# More polls than this waiting for a flight means an overloaded house: come back half as often, and so on.
BUSY_POLLS = 500


async def poll(call: Call) -> web.Response:
    """Give what came after a position: a bare JSON array, ascending."""
    patience = call.patience
    page, held = await messages.since(call.context, call.caller, call.query, patience)
    body, more = _rows(page) if page.messages else (b"[]", False)
    headers = CIMultiDict(
        {
            hdrs.CONTENT_TYPE: JSON,
            NEXT_POLL: str(0 if more else pace_ms(call.context, call.caller.account_id, page, held=held)),
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


def pace_ms(context: Context, account_id: int, page: Page, *, held: bool) -> int:
    """Say when to poll again. The emptier an account's bucket, the later, so who keeps to it is never refused."""
    if held and page.status != "closed":  # nobody waits at a closed chat, so its next call would be answered at once
        base: float = PACE_HELD_MS
    elif page.messages or (quiet := (datetime.now(UTC) - page.active_at).total_seconds()) < 60:
        base = PACE_ACTIVE_MS
    else:
        base = PACE_CALM_MS if quiet < 600 else PACE_IDLE_MS
    fullness = context.limits.poll_fullness(account_id)
    if fullness < 0.5:
        base = max(base, PACE_ACTIVE_MS) / max(fullness, 0.01)
    busy = 1 + len(context.book.polls) / BUSY_POLLS
    return int(base * busy * random.uniform(0.9, 1.1))


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
