"""/templates: texts that staff send often."""

from aiohttp import web

from server.actions import templates
from server.routes.door import Call, answer, no_content


async def listing(call: Call) -> web.Response:
    """List one's own and the shared templates."""
    return answer(await templates.listing(call.context, call.caller, call.query))


async def create(call: Call) -> web.Response:
    """Create a template."""
    return answer(await templates.create(call.context, call.caller, call.body), 201)


async def edit(call: Call) -> web.Response:
    """Edit a template."""
    return answer(await templates.edit(call.context, call.caller, call.id(), call.body))


async def delete(call: Call) -> web.Response:
    """Forget a template."""
    await templates.delete(call.context, call.caller, call.id())
    return no_content()


async def render(call: Call) -> web.Response:
    """Fill a template for a chat."""
    return answer(await templates.render(call.context, call.caller, call.id(), call.body))
