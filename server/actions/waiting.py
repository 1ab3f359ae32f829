"""Holding a call until the bell rings: `Prefer: wait` for polls and for /sessions/changes."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from channels import Waiter
from server.actions.announce import topic
from server.context import Context

T = TypeVar("T")


class Patience(NamedTuple):
    """How long a client would wait for news, and whether it has hung up meanwhile."""

    seconds: int
    is_gone: Callable[[], bool]


NONE = Patience(0, lambda: False)

# Longer holds would meet the 30 s of proxies.
WAIT_MOST_SECONDS = 25
# Held calls of one account: a person's tabs, or a desk's chats; beyond that calls are answered at once.
HELD_MOST = 20


async def until(
    context: Context,
    account_id: int,
    patience: Patience,
    read: Callable[[], Awaitable[T]],
    is_news: Callable[[T], bool],
) -> tuple[T, bool]:
    """Read the book, and again whenever the account's bell rings, until there is news or the time is over.

    The bell is heard before the book is read, so that nothing can land in between unnoticed.

    Returns:
        What was read last, and whether the call was held at all.
    """
    waiter = Waiter()
    seconds = patience.seconds
    if seconds <= 0 or not context.held.add(account_id, waiter, HELD_MOST, patience.is_gone):
        return await read(), False
    deadline = time.monotonic() + min(seconds, WAIT_MOST_SECONDS)
    context.broker.join(waiter, topic(account_id))
    try:
        found = await read()
        if not is_news(found) and await context.broker.subscribed(topic(account_id)):
            found = await read()  # what landed before other replicas' bells could be heard here
        while not is_news(found) and not context.held.draining:
            left = deadline - time.monotonic()
            if left <= 0 or not await waiter.wait(left) or patience.is_gone():
                break
            found = await read()
        return found, True
    finally:
        context.broker.leave(waiter)
        context.held.remove(account_id, waiter)
