"""/credits: balances, statements, bookings."""

from aiohttp import web

from server.actions import credits
from server.routes.door import Call, answer
from server.routes.messages import REPLAYED
from server.wire.codec import idempotency_key


async def balance(call: Call) -> web.Response:
    """Give a balance."""
    return answer(await credits.balance(call.context, call.caller, call.query.account_id))


async def entries(call: Call) -> web.Response:
    """Give a page of a statement."""
    return answer(await credits.statement(call.context, call.caller, call.query))


async def grant(call: Call) -> web.Response:
    """Book credits."""
    key = idempotency_key(call.request.headers.get("Idempotency-Key"))
    entry, replayed = await credits.grant(call.context, call.caller, call.body, key)
    return answer(entry, 201, REPLAYED if replayed else None)
