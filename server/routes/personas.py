"""/personas: whom to talk with."""

from aiohttp import web

from server.actions import personas
from server.routes.door import Call, answer


async def listing(call: Call) -> web.Response:
    """List the personas that the caller may see."""
    return answer(await personas.listing(call.context, call.caller, call.query))


async def get(call: Call) -> web.Response:
    """Give one persona."""
    return answer(await personas.get(call.context, call.caller, call.id()))


async def create(call: Call) -> web.Response:
    """Create a persona."""
    return answer(await personas.create(call.context, call.caller, call.body), 201)


async def edit(call: Call) -> web.Response:
    """Edit a persona, or hand it over."""
    return answer(await personas.edit(call.context, call.caller, call.id(), call.body))
