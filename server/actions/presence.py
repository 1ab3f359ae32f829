"""Who is online and who is typing: told to the other side, when that side is there to hear it."""

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic

from server.actions.announce import topic
from server.auth import Caller
from server.context import Context
from server.errors import Refusal
from server.recent import Told
from server.wire import frames
from server.wire.codec import encode
from storage import sessions
from storage.errors import StorageError

# A flapping connection must not make the other side's screen blink.
QUIET_SECONDS = 10.0
# PostgreSQL restarts in about this time.
AGAIN_SECONDS = 1.0


def words_of(caller: Caller) -> tuple[str, str, str]:
    """Give the words by which the live registry knows an account: the staff's site is listed."""
    return (
        (str(caller.account_id), "staff", caller.site) if caller.role == "staff" else (str(caller.account_id), "", "")
    )


def arrive(context: Context, caller: Caller) -> None:
    """Count a socket."""
    if context.presence.arrive(*words_of(caller)):
        context.tasks.start(_appear(context, caller), "presence")


def leave(context: Context, caller: Caller) -> None:
    """Count a socket less; after the last one and 30 s of grace the registry says so by `gone`."""
    context.presence.leave(*words_of(caller))


def touch(context: Context, caller: Caller) -> None:
    """Note a call: its account is online for 60 s."""
    if context.presence.touch(*words_of(caller)):
        context.tasks.start(_appear(context, caller), "presence")


async def _appear(context: Context, caller: Caller) -> None:
    """Tell who came, unless it has been here all along through another replica."""
    if not await context.presence.is_elsewhere(str(caller.account_id)):
        await tell(context, caller.account_id, True)


async def gone(context: Context, members: Iterable[str]) -> None:
    """Tell who left; does not wait for it."""
    context.tasks.start(_disappear(context, list(members)), "presence")


async def _disappear(context: Context, members: Sequence[str]) -> None:
    for member in members:
        if not await context.presence.online({member}):  # telling of the one before may have waited for the book
            await tell(context, int(member), False)


async def tell(context: Context, account_id: int, online: bool) -> None:
    """Tell those counterparts who are online that an account came or went, at most once in 10 s.

    While PostgreSQL is away this waits for it, unless something newer is to be said by then.
    """
    now = monotonic()
    last = context.told.get(account_id)
    if last is not None and now - last.at < QUIET_SECONDS:
        if last.online != online and not last.looks_again:
            last.looks_again = True
            context.tasks.start(_look_again(context, account_id, last), "presence")
        return
    told = Told(online, now)
    context.told.note(account_id, told)
    while True:
        try:
            chats = await sessions.counterparts(context.book, account_id)
            break
        except StorageError:
            await asyncio.sleep(AGAIN_SECONDS)
        if context.told.get(account_id) is not told:
            return
    others = {str(staff if user == account_id else user) for _, user, staff in chats}
    listening = await context.presence.online(others) if others else set()
    for session_id, user, staff in chats:
        other = staff if user == account_id else user
        if str(other) in listening:
            event = frames.PresenceEvent(
                session_id=session_id, sender_type="user" if user == account_id else "persona", online=online
            )
            context.broker.publish([topic(other)], encode(event))


async def _look_again(context: Context, account_id: int, last: Told) -> None:
    """Once the quiet is over, tell how it ended."""
    await asyncio.sleep(last.at + QUIET_SECONDS - monotonic())
    online = bool(await context.presence.online({str(account_id)}))
    if online != last.online:
        await tell(context, account_id, online)


async def typing(context: Context, caller: Caller, session_id: int) -> None:
    """Tell the other side that one is typing.

    Raises:
        Refusal: `not_found`: the session is not one's own.
    """
    parties = await sessions.participants(context.book, session_id)
    if parties is None or caller.account_id not in parties:
        raise Refusal("not_found")
    event = frames.TypingEvent(session_id=session_id, sender_type="user" if caller.is_user else "persona")
    other = parties[1] if caller.is_user else parties[0]
    context.broker.publish([topic(other)], encode(event))
