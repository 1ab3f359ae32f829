"""Websocket connections that cost the measuring side little: a handshake, and a callback for each frame."""

import asyncio
from collections.abc import Callable
from typing import cast

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


class Socket(asyncio.Protocol):
    """One open websocket that only listens."""

    def __init__(self, path: str, token: str, heard: Callable[[bytes], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._request = HANDSHAKE.format(path=path, token=token).encode()
        self._heard = heard
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the handshake."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames; they are whole and never masked."""
        self._bytes += data
        if not self.opened.done():
            head, end, rest = self._bytes.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(RuntimeError(head.split(b"\r\n", 1)[0].decode()))
                return
            self._bytes = rest
            self.opened.set_result(None)
        while (frame := self._next()) is not None:
            self._heard(frame)

    def _next(self) -> bytes | None:
        data = self._bytes
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        if size == 126:
            start, size = 4, int.from_bytes(data[2:4])
        elif size == 127:
            start, size = 10, int.from_bytes(data[2:10])
        if len(data) < start + size:
            return None
        self._bytes = data[start + size :]
        return data[start : start + size]


async def connect(port: int, path: str, token: str, heard: Callable[[bytes], None]) -> Socket:
    """Open one."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(path, token, heard), "127.0.0.1", port)
    await socket.opened
    return socket
