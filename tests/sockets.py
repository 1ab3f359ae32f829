"""A websocket client for the tests: what it heard, and replies by their `ref`."""

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.people import Answer, Client, Person

Event = dict[str, Any]


class SocketClient:
    """One open websocket; a task of its own hears everything."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[Event] = []
        self._refs = itertools.count(1_000)
        self._replies: dict[int, asyncio.Future[Event]] = {}
        self._changed = asyncio.Event()
        self._task_is_over = False
        self._task = asyncio.create_task(self._hear())

    @classmethod
    async def open(cls, person: Person, replica: Any, **headers: str) -> "SocketClient":
        """Open a socket as somebody, and wait for its hello."""
        url = replica if isinstance(replica, str) else replica.url
        all_headers = {"Authorization": f"Bearer {person.token}", **headers}
        client = cls(await person.http.ws_connect(f"{url}/api/v1/ws", headers=all_headers, max_msg_size=0))
        await client.event("hello")
        return client

    async def _hear(self) -> None:
        async for frame in self.socket:
            assert frame.type is aiohttp.WSMsgType.TEXT
            event = json.loads(frame.data)
            self.heard.append(event)
            if event.get("ref") in self._replies:
                self._replies.pop(event["ref"]).set_result(event)
            self._changed.set()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(aiohttp.ClientConnectionError("The socket was closed before the reply."))
        self._task_is_over = True
        self._changed.set()

    @property
    def is_closed(self) -> bool:
        return self._task_is_over

    async def until(self, found: Callable[[], Any], seconds: float = 5.0) -> Any:
        """Wait until `found` gives something, looking again whenever something was heard."""
        async with asyncio.timeout(seconds):
            while not (result := found()):
                self._changed.clear()
                await self._changed.wait()
        return result

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.heard if event["type"] == kind]

    async def event(self, kind: str, seconds: float = 5.0, **members: Any) -> Event:
        """Give the first event of a kind with these members, heard already or to come."""

        def found() -> Event | None:
            for event in self.events(kind):
                if all(event.get(name) == value for name, value in members.items()):
                    return event
            return None

        return await self.until(found, seconds)

    async def say(self, text: str | bytes) -> None:
        await (self.socket.send_str(text) if isinstance(text, str) else self.socket.send_bytes(text))

    async def command(self, kind: str, seconds: float = 8.0, **members: Any) -> Event:
        """Give the reply to a command: `ok` or `error`."""
        ref = next(self._refs)
        reply = self._replies[ref] = asyncio.get_running_loop().create_future()
        await self.say(json.dumps({"type": kind, "ref": ref, **members}))
        return await asyncio.wait_for(reply, seconds)

    async def closed(self, seconds: float = 5.0) -> int | None:
        """Wait for the close and give its code."""
        async with asyncio.timeout(seconds):
            await asyncio.wait({self._task})
        return self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()
        await asyncio.wait({self._task})


class SocketDoor(Client):
    """A client that sends by commands, and asks what is new by `resume`; everything else goes over HTTP."""

    def __init__(self, person: Person, url: str) -> None:
        super().__init__(person.http, url, person.token)
        self._person = person
        self._socket: SocketClient | None = None
        self._opening = asyncio.Lock()

    async def _command(self, kind: str, **members: Any) -> tuple[Answer, list[Event]]:
        """Give the reply as HTTP would have said it, and the messages that came before it."""
        async with self._opening:
            if self._socket is None or self._socket.is_closed:
                self._socket = await SocketClient.open(self._person, self.url)
        began = len(self._socket.heard)
        reply = await self._socket.command(kind, **members)
        messages = [event["message"] for event in self._socket.heard[began:] if event["type"] == "message"]
        body = {name: value for name, value in reply.items() if name not in ("type", "ref", "replayed")}
        headers = {"Idempotent-Replayed": "true"} if reply.get("replayed") else {}
        return Answer(reply.get("status", 201), body, headers, json.dumps(body).encode()), messages

    async def send(self, session_id: int, content: str, key: str | None = None, **more: Any) -> Answer:
        keyed = {} if key is None else {"idempotency_key": key}
        return (await self._command("send", session_id=session_id, content=content, **keyed, **more))[0]

    async def poll(self, session_id: int, last_message_id: int, **headers: str) -> Answer:
        answer, messages = await self._command("resume", positions={session_id: last_message_id})
        if answer.status >= 400:
            return answer
        missed = {row["id"]: row for row in messages if row["session_id"] == session_id}
        return Answer(200, [missed[id_] for id_ in sorted(missed) if id_ > last_message_id], {}, b"")

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()


def raw_handshake(token: str) -> bytes:
    """Give the bytes that open a websocket, for clients that no library would be."""
    lines = [
        "GET /api/v1/ws HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Authorization: Bearer {token}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
