"""Coming back: what a client missed in each of its sessions since the positions that it holds."""

import asyncio
from collections.abc import Sequence
from heapq import nlargest

from msgspec import UNSET, Struct

from server.actions import announce
from server.auth import Caller
from server.context import Context
from server.wire import frames
from storage import accounts, messages, sessions
from storage.records import Page

# More than this is fetched faster by polls, which hold up nobody else's pushes.
MESSAGES_MOST = 500
BYTES_MOST = 256 * 1024
# Sessions read at once: enough to share a flight, few enough that what exceeds the bounds is not read for nothing.
SESSIONS_AT_ONCE = 8
# Heads in one answer, the newest ones: some 450 KB, well below what may wait for a socket.
HEADS_MOST = 10_000


class Resumed(Struct, frozen=True):
    """The `message` events in each session's order, the sessions with more to poll, and where everything is."""

    events: list[bytes]
    gaps: list[int]
    gone: list[int]
    heads: dict[int, frames.HeadState]
    balance: accounts.Balance | None

    def ok(self, ref: int | str) -> frames.Ok:
        """Give the reply."""
        newest = self.balance
        return frames.Ok(
            ref=ref,
            gone=self.gone,
            heads=self.heads,
            credit_balance=newest.credit_balance if newest else UNSET,
            credit_entry_id=newest.credit_entry_id if newest else UNSET,
        )


async def resume(context: Context, caller: Caller, positions: dict[int, int]) -> Resumed:
    """Give what came after these positions: at most 500 messages and 256 KiB in all."""
    context.limits.take_poll(caller.account_id)
    own = {head.session_id: head for head in await sessions.heads(context.book, [caller.account_id], None)}
    gone = [session_id for session_id in positions if session_id not in own]
    behind = [
        messages.Position(caller.account_id, session_id, position)
        for session_id, position in positions.items()
        if session_id in own and own[session_id].message_id > position
    ]
    events, gaps = await _missing(context, behind)
    newest = nlargest(HEADS_MOST, own.values(), key=lambda head: head.message_id)
    balance = await accounts.balance(context.book, caller.account_id) if caller.is_user else None
    return Resumed(events, gaps, gone, announce.head_states(newest), balance)


async def _missing(context: Context, behind: Sequence[messages.Position]) -> tuple[list[bytes], list[int]]:
    events: list[bytes] = []
    size = 0
    gaps: list[int] = []
    for start in range(0, len(behind), SESSIONS_AT_ONCE):
        some = behind[start : start + SESSIONS_AT_ONCE]
        if len(events) >= MESSAGES_MOST or size >= BYTES_MOST:
            gaps += [position.session_id for position in some]
            continue
        rows = MESSAGES_MOST - len(events)
        for position, page in zip(some, await asyncio.gather(*(_page(context, p, rows) for p in some)), strict=True):
            more = page is None or page.more
            for message in page.messages if page else ():
                event = announce.past_message(message)
                if len(events) >= MESSAGES_MOST or size + len(event) > BYTES_MOST:
                    more = True
                    break
                events.append(event)
                size += len(event)
            if more:
                gaps.append(position.session_id)
    return events, gaps


async def _page(context: Context, position: messages.Position, rows: int) -> Page | None:
    """Read one session; None for a position that its poll will refuse."""
    try:
        return await messages.since(context.book, context.book.polls, position, rows=rows, size=BYTES_MOST)
    except (messages.NoSession, messages.ForeignPosition):
        return None
