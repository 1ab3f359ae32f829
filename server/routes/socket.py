"""The websocket door: `GET /ws`. One reader, one writer, and an outbox between the bell and the writer."""

import asyncio
import logging
import random
import secrets
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic

from aiohttp import WSMsgType, web
from msgspec import UNSET, Struct

from channels import Outbox
from server import VERSION
from server.actions import accounts, presence
from server.actions.announce import topic
from server.auth import Caller
from server.context import Context
from server.errors import Close, Refusal, problem
from server.routes.commands import COMMANDS, SAFE
from server.routes.door import ANSWER_SECONDS, Call, check_handshake_origin
from server.routes.refusals import language_of, refusal_of
from server.wire import frames
from server.wire.codec import CommandCodec, encode, ref_of
from storage.errors import wrote

log = logging.getLogger(__name__)

# Well below the 60 s after which proxies call a connection idle.
HEARTBEAT_SECONDS = 25
# aiohttp rounds long timers to whole seconds: without jitter all sockets would ping at the same moments.
JITTER = 0.1
FRAME_BYTES = 64 * 1024
# What a peer has to answer a close; it is gone if it takes longer.
CLOSE_SECONDS = 1.0
# Commands of one connection that wait for the book at once: what a busy one says in the 4 s after which each is
# answered even if PostgreSQL is frozen; some 3 KB each.
RUNNING_MOST = 500
# How long commands in flight may keep a socket open that is to close: a little longer than their own deadline.
FINISH_SECONDS = 4.5
BAD_FRAMES_MOST = 10
BAD_FRAMES_SECONDS = 60.0
TYPING_SECONDS = 5.0

decode = CommandCodec(frames.AnyCommand)


async def connect(call: Call) -> web.StreamResponse:
    """Open a websocket; refusals are answers before the upgrade."""
    context, caller, request = call.context, call.caller, call.request
    check_handshake_origin(request, context)
    if context.held.draining:
        raise Refusal("draining")
    if not context.limits.off and not context.sockets.has_room(caller.account_id):
        raise Refusal("rate_limited", "This account has too many connections here.", retry_after_ms=10_000)
    socket: web.WebSocketResponse = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        heartbeat=HEARTBEAT_SECONDS * random.uniform(1 - JITTER, 1),
        compress=False,  # on, it would cost some 256 KiB a connection
        max_msg_size=FRAME_BYTES,
    )
    if not socket.can_prepare(request):
        raise Refusal("malformed_body", "This call is a websocket handshake.")
    await Connection(context, caller, request, socket).run()
    return socket


class Connection:
    """One open websocket of an account."""

    __slots__ = (
        "__weakref__",
        "_bad_frames",
        "_caller",
        "_code",
        "_context",
        "_ending",
        "_id",
        "_number",
        "_outbox",
        "_request",
        "_running",
        "_socket",
        "_typed_at",
        "_writer",
        "account_id",
        "token_hash",
    )

    def __init__(self, context: Context, caller: Caller, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.account_id = caller.account_id
        self.token_hash = caller.token_hash
        self._context = context
        self._caller = caller
        self._request = request
        self._socket = socket
        self._id = secrets.token_hex(8)
        self._number = 0
        self._outbox = Outbox(on_overflow=self._overflow, counters=context.broker.counters)
        self._running: set[asyncio.Task[None]] = set()
        self._bad_frames: deque[float] | None = None
        self._typed_at: dict[int, float] | None = None
        self._code: Close | None = None
        self._writer: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    # What the house does with it

    def hear(self, payload: bytes) -> None:
        """Take an event from the bell."""
        self._context.seen.note(payload)
        self._outbox.hear(payload)

    def part(self, code: Close) -> None:
        """Close it with a code, once the commands in flight are done; it hears nothing more, and this never waits."""
        if self._code is None:
            self._code = code
            self._context.broker.leave(self)
            self._ending = asyncio.get_running_loop().create_task(self._end(), name="socket end")

    def come_back(self, after_ms: int) -> None:
        """Ask its client to come back elsewhere."""
        self._say(frames.Reconnect(after_ms=after_ms))

    # Its life

    async def run(self) -> None:
        """Listen first, then say hello: from there on nothing is missed."""
        context = self._context
        context.sockets.add(self)
        context.broker.join(self, topic(self.account_id))
        arrived = False
        try:
            # A login that is only remembered may be revoked already, and the look at the sockets' logins comes later.
            await context.tokens.check(context.book.checks, self.token_hash)
            await context.broker.subscribed(topic(self.account_id))
            hello = await self._hello()
            await self._socket.prepare(self._request)
            arrived = True
            presence.arrive(context, self._caller)
            await self._socket.send_frame(hello, WSMsgType.TEXT)
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="socket writer")
            await self._read()
        except Exception:
            if not arrived:
                raise  # still an answer of HTTP
            log.debug("a socket ended early", exc_info=True)
        finally:
            context.sockets.remove(self)
            context.broker.leave(self)
            if arrived:
                presence.leave(context, self._caller)
            self._outbox.close()
            if self._writer is not None:
                await asyncio.wait({self._writer}, timeout=2 * CLOSE_SECONDS)
                self._writer.cancel()

    async def _hello(self) -> bytes:
        return encode(
            frames.Hello(
                connection_id=self._id,
                account=await accounts.me(self._context, self._caller),
                now=datetime.now(UTC),
                version=VERSION,
                heartbeat_seconds=HEARTBEAT_SECONDS,
            )
        )

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while (payloads := await self._outbox.take()) is not None:
                for payload in payloads:
                    await self._socket.send_frame(payload, WSMsgType.TEXT)
        if not self._outbox.overflowed:
            await self._close()

    async def _close(self) -> None:
        """Say goodbye with the code, and do not wait long for an answer."""
        code = Close.SLOW_READER if self._outbox.overflowed else self._code
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self._socket.close(code=code or 1000, message=code.name.lower().encode() if code else b"")
        transport = self._request.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # what waits for a peer that never reads is memory of ours

    def _overflow(self) -> None:
        """Part with a reader that is too slow: the writer may be stuck for as long as it does not read.

        The writer is not cancelled: aiohttp lets all who wait for a full transport share one future.
        """
        self._ending = asyncio.get_running_loop().create_task(self._close(), name="socket overflow")

    async def _end(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=FINISH_SECONDS)
        self._outbox.close()

    # Commands

    async def _read(self) -> None:
        async for frame in self._socket:
            if self._code is not None:
                continue  # it is closing: what comes now was not heard
            if not self._context.limits.take_command(self._id):
                self.part(Close.FLOOD)
            elif frame.type is WSMsgType.TEXT:
                await self._command(frame.data)
            else:
                self._bad(Refusal("malformed_body", "Frames are JSON text."), None)

    async def _command(self, text: str) -> None:
        try:
            command = decode(text)
        except Refusal as refusal:
            self._bad(refusal, ref_of(text))
            return
        if isinstance(command, frames.Typing) and not self._may_type(command.session_id):
            if command.ref is not None:
                self._say(frames.Ok(ref=command.ref))
            return
        while len(self._running) >= RUNNING_MOST:  # the peer waits at its own socket
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.get_running_loop().create_task(self._do(command), name="command")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _do(self, command: frames.AnyCommand) -> None:
        safe = isinstance(command, SAFE)
        try:
            wrote.set(False)
            async with asyncio.timeout(ANSWER_SECONDS if safe else None):
                async for reply in COMMANDS[type(command)](self._context, self._caller, command):
                    self._outbox.hear(reply)
        except Exception as error:
            what = f"command {type(command).__name__.lower()}"
            self._refuse(refusal_of(error, what, safe=safe), command.ref)

    def _may_type(self, session_id: int) -> bool:
        """Say whether it is time to tell once more that one is typing."""
        if self._typed_at is None:
            self._typed_at = {}
        now = monotonic()
        if now - self._typed_at.get(session_id, -TYPING_SECONDS) < TYPING_SECONDS:
            return False
        self._typed_at = {id_: at for id_, at in self._typed_at.items() if now - at < TYPING_SECONDS}
        self._typed_at[session_id] = now
        return True

    def _bad(self, refusal: Refusal, ref: int | str | None) -> None:
        """Refuse a frame that is no command; the tenth within a minute ends the connection."""
        self._refuse(refusal, ref)
        if self._bad_frames is None:
            self._bad_frames = deque(maxlen=BAD_FRAMES_MOST)
        self._bad_frames.append(monotonic())
        if len(self._bad_frames) == BAD_FRAMES_MOST and monotonic() - self._bad_frames[0] < BAD_FRAMES_SECONDS:
            self.part(Close.BAD_FRAMES)

    def _refuse(self, refusal: Refusal, ref: int | str | None) -> None:
        self._number += 1
        members = problem(refusal, f"{self._id}-{self._number}", language_of(self._request))
        del members["type"]  # an event's type is its name
        self._say(frames.Error(**members, ref=UNSET if ref is None else ref))

    def _say(self, event: Struct) -> None:
        self._outbox.hear(encode(event))
