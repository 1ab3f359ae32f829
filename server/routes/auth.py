"""/auth: registering, logging in and out, oneself."""

from aiohttp import hdrs, web

from server.actions import accounts
from server.errors import Refusal
from server.routes.door import (
    STAFF_COOKIE,
    USER_COOKIE,
    Call,
    answer,
    check_origin,
    cookie_name,
    login_roles,
    no_content,
)


async def register(call: Call) -> web.Response:
    """Make a user."""
    visitor = call.visitor
    if visitor.entry == "staff":
        raise Refusal("wrong_entry")
    made, _token = await accounts.register(call.context, call.body, visitor.address, visitor.site)
    return answer(made, 201)


async def log_in(call: Call) -> web.Response:
    """Log in; with `cookie`, set it instead of answering the token."""
    visitor = call.visitor
    if call.body.cookie and hdrs.ORIGIN in call.request.headers:
        check_origin(call.request, call.context)
    roles = login_roles(call.context, visitor.entry)
    made, token = await accounts.log_in(call.context, call.body, visitor.address, visitor.site, roles)
    response = answer(made)
    if call.body.cookie:
        response.set_cookie(
            cookie_name(made.account.role),
            token,
            httponly=True,
            samesite="Lax",
            secure=call.context.settings.secure_cookies == "on",
            max_age=int(call.context.tokens.lifetime(made.account.role).total_seconds()),
            path="/",
        )
    return response


async def log_out(call: Call) -> web.Response:
    """Revoke this login."""
    await accounts.log_out(call.context, call.caller)
    response = no_content()
    for name in (USER_COOKIE, STAFF_COOKIE):
        if name in call.request.cookies:
            response.del_cookie(name, path="/")
    return response


async def me(call: Call) -> web.Response:
    """Give the caller's account."""
    return answer(await accounts.me(call.context, call.caller))


async def rename(call: Call) -> web.Response:
    """Change the caller's name."""
    return answer(await accounts.rename(call.context, call.caller, call.body.display_name))


async def change_password(call: Call) -> web.Response:
    """Change the caller's password."""
    await accounts.change_password(call.context, call.caller, call.body, call.visitor.address)
    return no_content()
