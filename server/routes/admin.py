"""/accounts, /staff, /audit, /stats: looking after people."""

from aiohttp import web

from server.actions import accounts, oversight
from server.routes.door import Call, answer


async def staff(call: Call) -> web.Response:
    """List the staff."""
    return answer(await accounts.staff(call.context))


async def search(call: Call) -> web.Response:
    """Find accounts."""
    return answer(await accounts.search(call.context, call.query))


async def get(call: Call) -> web.Response:
    """Give one account."""
    return answer(await accounts.get(call.context, call.id()))


async def create(call: Call) -> web.Response:
    """Make an account."""
    return answer(await accounts.create(call.context, call.caller, call.body), 201)


async def edit(call: Call) -> web.Response:
    """Change an account."""
    return answer(await accounts.edit(call.context, call.caller, call.id(), call.body))


async def log_out_everywhere(call: Call) -> web.Response:
    """Revoke an account's logins."""
    return answer(await accounts.log_out_everywhere(call.context, call.caller, call.id()))


async def audit(call: Call) -> web.Response:
    """Give the audit log."""
    return answer(await oversight.audit_log(call.context, call.query))


async def stats(call: Call) -> web.Response:
    """Give the house at a glance."""
    return answer(await accounts.stats(call.context))
