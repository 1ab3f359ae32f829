"""How soon a polling client should come back: short while something happens, longer when idle or overloaded."""

import random

from multidict import istr

from server.context import Context

# Made once: a header name that is looked up by its text costs ten times as much.
NEXT_POLL = istr("X-Next-Poll-Ms")
# After something arrived or within a minute of it, within ten, later.
ACTIVE_MS, CALM_MS, IDLE_MS = 1_000, 3_000, 10_000
# Whose call was held may ask again almost at once: the waiting is done in the call.
HELD_MS = 100
# More polls than this waiting for a flight means an overloaded house: come back half as often, and so on.
BUSY_POLLS = 500


def next_ms(context: Context, account_id: int, base: float) -> int:
    """Give when to ask again. The emptier an account's bucket, the later, so who keeps to it is never refused."""
    fullness = context.limits.poll_fullness(account_id)
    if fullness < 0.5:
        base = max(base, ACTIVE_MS) / max(fullness, 0.01)
    busy = 1 + len(context.book.polls) / BUSY_POLLS
    return int(base * busy * random.uniform(0.9, 1.1))
