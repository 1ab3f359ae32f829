"""Logins in use: they slide, and when one is revoked its sockets close."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from server.auth import Caller, worth
from server.context import Context
from server.errors import Close, Refusal
from storage import logins
from storage.records import Login

T = TypeVar("T")

# Tokens in one question to the book: a primary-key probe each.
LOGINS_AT_ONCE = 1_000
CLOSES = {"login_expired": Close.LOGIN_EXPIRED, "suspended": Close.SUSPENDED}


def slide(context: Context, login: Login) -> None:
    """Extend a login that is in use, now and then."""
    if context.tokens.slides_at(login):
        until = datetime.now(UTC) + context.tokens.lifetime(login.role)
        context.tasks.start(logins.extend(context.book, login.token_hash, until), "slide login")


def as_long_as_it_holds(
    context: Context, caller: Caller, read: Callable[[], Awaitable[T]]
) -> Callable[[], Awaitable[T]]:
    """Make a reading for a call that may be held: who is logged out or suspended meanwhile reads nothing more.

    Right after the call came in this asks nobody; later it is a check like that of any call.
    """

    async def checked() -> T:
        if context.tokens.remembered(caller.token_hash) is None:
            await context.tokens.check(context.book.checks, caller.token_hash)
        return await read()

    return checked


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
        codes = {token_hash: _close_code(login) for token_hash, login in found.items()}
        for socket in some:
            if (code := codes.get(socket.token_hash, Close.LOGGED_OUT)) is not None:
                context.tokens.forget(socket.token_hash)
                socket.part(code)
        for token_hash, login in found.items():
            if codes[token_hash] is None:
                slide(context, login)


def _close_code(login: Login) -> Close | None:
    try:
        worth(login)
    except Refusal as refusal:
        return CLOSES[refusal.code]
    return None
