"""/sessions: the chats."""

from aiohttp import web

from server.actions import sessions
from server.routes import pace
from server.routes.door import Call, answer


async def open_(call: Call) -> web.Response:
    """Open a chat, or find the one that is there."""
    session, is_new = await sessions.open_(call.context, call.caller, call.body.persona_id)
    return answer(session, 201 if is_new else 200)


async def inbox(call: Call) -> web.Response:
    """Give a page of the inbox."""
    return answer(await sessions.inbox(call.context, call.caller, call.query))


async def changes(call: Call) -> web.Response:
    """Give what changed since the client last looked, and when to look again."""
    patience = call.patience
    found, held = await sessions.changes(call.context, call.caller, call.body.known, patience)
    base = pace.HELD_MS if held else pace.ACTIVE_MS if found.items or found.gone else pace.CALM_MS
    more = len(found.items) >= sessions.CHANGES_MOST
    headers: dict[str, str] = {
        pace.NEXT_POLL: str(0 if more else pace.next_ms(call.context, call.caller.account_id, base))
    }
    if held:
        headers["Preference-Applied"] = f"wait={min(patience.seconds, 25)}"
    return answer(found, headers=headers)


async def get(call: Call) -> web.Response:
    """Give one chat."""
    return answer(await sessions.get(call.context, call.caller, call.id()))


async def close(call: Call) -> web.Response:
    """Close a chat."""
    return answer(await sessions.close(call.context, call.caller, call.id()))


async def read(call: Call) -> web.Response:
    """Move the caller's read position forward."""
    return answer(await sessions.read(call.context, call.caller, call.id(), call.body.message_id))


async def set_waiting(call: Call) -> web.Response:
    """Say that a chat needs no answer."""
    return answer(await sessions.set_waiting(call.context, call.caller, call.id(), call.body.waiting))
