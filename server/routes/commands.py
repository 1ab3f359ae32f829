"""The table of websocket commands: one thin handler each, which gives its replies in order."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import Struct

from server.actions import messages, presence, resume, sessions
from server.auth import Caller
from server.context import Context
from server.errors import KeyReused
from server.wire import frames
from server.wire.codec import encode
from server.wire.requests import SendMessage

Replies = AsyncIterator[bytes]


async def _resume(context: Context, caller: Caller, command: frames.Resume) -> Replies:
    found = await resume.resume(context, caller, command.positions)
    for event in found.events:
        yield event
    for session_id in found.gaps:
        yield encode(frames.Gap(session_id=session_id))
    yield encode(found.ok(command.ref))


async def _send(context: Context, caller: Caller, command: frames.Send) -> Replies:
    body = SendMessage(
        session_id=command.session_id,
        content=command.content,
        expected_cost=command.expected_cost,
        seen_message_id=command.seen_message_id,
        template_id=command.template_id,
    )
    try:
        sent, replayed = await messages.send(context, caller, body, command.idempotency_key)
    except KeyReused:
        raise KeyReused("idempotency_key") from None  # a frame has no headers
    yield encode(
        frames.Ok(
            ref=command.ref,
            message=sent.message,
            credit_balance=sent.credit_balance,
            credit_entry_id=sent.credit_entry_id,
            replayed=replayed,
        )
    )


async def _read(context: Context, caller: Caller, command: frames.Read) -> Replies:
    await sessions.read(context, caller, command.session_id, command.message_id)
    yield encode(frames.Ok(ref=command.ref))


async def _typing(context: Context, caller: Caller, command: frames.Typing) -> Replies:
    await presence.typing(context, caller, command.session_id)
    if command.ref is not None:
        yield encode(frames.Ok(ref=command.ref))


async def _ping(context: Context, caller: Caller, command: frames.Ping) -> Replies:
    yield encode(frames.Ok(ref=command.ref))


COMMANDS: dict[type[Struct], Callable[[Context, Caller, Any], Replies]] = {
    frames.Resume: _resume,
    frames.Send: _send,
    frames.Read: _read,
    frames.Typing: _typing,
    frames.Ping: _ping,
}
# Which of them may be said again after a surprise, for nothing was done.
SAFE = (frames.Resume, frames.Typing, frames.Ping, frames.Read)
