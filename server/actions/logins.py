"""Logins in use: they slide, and when one is revoked its sockets close."""

from datetime import UTC, datetime

from server.auth import worth
from server.context import Context
from server.errors import Close, Refusal
from storage import logins
from storage.records import Login

# Tokens in one question to the book: a primary-key probe each.
LOGINS_AT_ONCE = 1_000
CLOSES = {"login_expired": Close.LOGIN_EXPIRED, "suspended": Close.SUSPENDED}


def slide(context: Context, login: Login) -> None:
    """Extend a login that is in use, now and then."""
    if context.tokens.slides_at(login):
        until = datetime.now(UTC) + context.tokens.lifetime(login.role)
        context.tasks.start(logins.extend(context.book, login.token_hash, until), "slide login")


def revoked(context: Context) -> None:
    """Look at the sockets' logins now: one of them was just revoked here."""
    context.tasks.start(check_sockets(context), "check logins")


async def check_sockets(context: Context) -> None:
    """Close every socket of this replica whose login holds no more; the others' logins are in use.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    sockets = list(context.sockets)
    for start in range(0, len(sockets), LOGINS_AT_ONCE):
        some = sockets[start : start + LOGINS_AT_ONCE]
        found = await logins.verify_all(context.book, list({socket.token_hash for socket in some}))
        for socket in some:
            if (code := _close_code(found.get(socket.token_hash))) is not None:
                context.tokens.forget(socket.token_hash)
                socket.part(code)
        for login in found.values():
            slide(context, login)


def _close_code(login: Login | None) -> Close | None:
    if login is None:
        return Close.LOGGED_OUT
    try:
        worth(login)
    except Refusal as refusal:
        return CLOSES[refusal.code]
    return None
