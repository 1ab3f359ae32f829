"""People with a websocket: pushes by the client's rule, sends as commands, and polls for what was missed."""

import asyncio
import itertools
import time
from typing import Any

import aiohttp
import msgspec
from msgspec import UNSET, Struct, UnsetType

from tests.load.doors import AGAIN, PAUSE_FIRST_SECONDS, PAUSE_MOST_SECONDS, Person
from tests.load.ledger import Row, Said

# How long a message whose predecessor is missing is held before one asks.
HOLE_SECONDS = 0.15
REPLY_SECONDS = 5.0


class Frame(Struct, frozen=True):
    """What is read of an event."""

    type: str
    ref: int | None = None
    message: Row | UnsetType = UNSET
    prev_id: int = 0
    session_id: int = 0
    heads: dict[int, "Head"] = {}
    code: str = ""
    status: int = 200
    retry_after_ms: int = 0
    after_ms: int = 0


class Head(Struct, frozen=True):
    """How far a session is."""

    message_id: int


FRAMES = msgspec.json.Decoder(Frame)


class SocketPerson(Person):
    """Somebody who listens at a websocket."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._refs = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._held: dict[int, dict[int, Row]] = {id_: {} for id_ in self.views}
        self._fetching: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Keep a websocket open for ever."""
        while True:
            try:
                async with self.http.ws_connect(
                    f"{self.door}/api/v1/ws", headers=self.headers, max_msg_size=0, timeout=_CLOSE
                ) as socket:
                    await self._hear(socket)
            except (aiohttp.ClientError, TimeoutError):
                pass
            self._lose()
            await asyncio.sleep(PAUSE_FIRST_SECONDS)

    def _lose(self) -> None:
        self.ledger.counts["sockets_lost"] += 1
        self._socket = None
        self.next_door()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionError())
        self._replies.clear()

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        positions = {str(id_): view.position for id_, view in self.views.items()}
        async for frame in socket:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return
            event = FRAMES.decode(frame.data)
            match event.type:
                case "hello":
                    self.ledger.counts["sockets_opened"] += 1
                    await socket.send_str(_text({"type": "resume", "ref": 0, "positions": positions}))
                    self._socket = socket
                case "message" if event.message is not UNSET:
                    self._pushed(event.message, event.prev_id)
                case "ok" | "error" if event.ref:
                    if (reply := self._replies.pop(event.ref, None)) is not None and not reply.done():
                        reply.set_result(event)
                case "gap":
                    self._fetch_soon(event.session_id, 0)
                case "reconnect":
                    await asyncio.sleep(event.after_ms / 1000)
                    return
            for session_id, head in event.heads.items():
                if session_id in self.views and head.message_id > self.views[session_id].position:
                    self._fetch_soon(session_id, HOLE_SECONDS)

    def _pushed(self, row: Row, prev_id: int) -> None:
        """At or below my position: drop; after my position: append; else hold it for a while, then poll."""
        self.ledger.counts["pushes"] += 1
        view = self.views[row.session_id]
        if row.id <= view.position:
            return
        held = self._held[row.session_id]
        held[prev_id] = row
        self._append_held(row.session_id)
        if held:
            self._fetch_soon(row.session_id, HOLE_SECONDS)

    def _append_held(self, session_id: int) -> None:
        view, held, now = self.views[session_id], self._held[session_id], time.perf_counter()
        while (row := held.pop(view.position, None)) is not None:
            self.ledger.saw(view, row, now)
        for prev_id in [prev_id for prev_id, row in held.items() if row.id <= view.position]:
            del held[prev_id]

    def _fetch_soon(self, session_id: int, seconds: float) -> None:
        if session_id not in self._fetching:
            self._fetching.add(session_id)
            task = asyncio.get_running_loop().create_task(self._fetch(session_id, seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch(self, session_id: int, seconds: float) -> None:
        before = self.views[session_id].position
        await asyncio.sleep(seconds)
        self._fetching.discard(session_id)
        if seconds and self.views[session_id].position > before and not self._held[session_id]:
            return  # it came by itself
        self.ledger.counts["repairs"] += 1
        while await self.poll(session_id) == 0:
            pass
        self._append_held(session_id)

    async def say(self, said: Said) -> None:
        """Send by the websocket while there is one, else by POST; with the same key all along."""
        if self._socket is None or not await self._say_there(self._socket, said):
            await super().say(said)

    async def _say_there(self, socket: aiohttp.ClientWebSocketResponse, said: Said) -> bool:
        """Send as a command; gives whether its outcome is known."""
        ref = next(self._refs)
        reply = self._replies[ref] = asyncio.get_running_loop().create_future()
        command = {"type": "send", "ref": ref, "session_id": said.session_id, "content": said.key}
        try:
            await socket.send_str(_text({**command, "idempotency_key": said.key}))
            async with asyncio.timeout(REPLY_SECONDS):
                event = await reply
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            self._replies.pop(ref, None)
            self.ledger.counts["no_answer"] += 1
            return False
        if event.message is not UNSET:
            self.acknowledge(said, event.message.id)
            return True
        if event.status in AGAIN:
            self.ledger.counts[event.code] += 1
            await asyncio.sleep(min(PAUSE_MOST_SECONDS, event.retry_after_ms / 1000))
            return False
        self.ledger.refused[event.code] += 1
        return True


_CLOSE = aiohttp.ClientWSTimeout(ws_close=1.0)


def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()
