"""A websocket client for the tests: what it heard, and replies by their `ref`."""

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.people import Person

Event = dict[str, Any]


class SocketClient:
    """One open websocket; a task of its own hears everything."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[Event] = []
        self._refs = itertools.count(1_000)
        self._changed = asyncio.Event()
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
            self.heard.append(json.loads(frame.data))
            self._changed.set()
        self._changed.set()

    @property
    def is_closed(self) -> bool:
        return self._task.done()

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

    async def command(self, kind: str, **members: Any) -> Event:
        """Give the reply to a command: `ok` or `error`."""
        ref = next(self._refs)
        await self.say(json.dumps({"type": kind, "ref": ref, **members}))
        return await self.until(lambda: next((event for event in self.heard if event.get("ref") == ref), None))

    async def closed(self, seconds: float = 5.0) -> int | None:
        """Wait for the close and give its code."""
        async with asyncio.timeout(seconds):
            await asyncio.wait({self._task})
        return self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()
        await asyncio.wait({self._task})


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
