"""A load generator that costs little: raw HTTP/1.1 over a few connections, each with one request in the air.

The requests are made beforehand, and of an answer only status and length are read: the generator shares the machine
with what it measures.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, next_request: Callable[[], bytes], until: float) -> None:
        self.answered = 0
        self.failed = 0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next_request = next_request
        self._until = until
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        place = self._buffer.find(b"Content-Length: ")
        length = int(self._buffer[place + 16 : self._buffer.find(b"\r", place)])
        if len(self._buffer) < head_end + 4 + length:
            return
        if self._buffer[9:10] != b"2":
            self.failed += 1
        self._buffer = b""
        now = time.perf_counter()
        self.answered += 1
        self.latencies.append(now - self._sent_at)
        if now >= self._until:
            assert self._transport is not None
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Run:
    """What one run gave: answers a second, failures, latencies in seconds."""

    def __init__(self, connections: Sequence[Connection], seconds: float) -> None:
        self.per_second = sum(connection.answered for connection in connections) / seconds
        self.failed = sum(connection.failed for connection in connections)
        self.latencies = sorted(latency for connection in connections for latency in connection.latencies)

    def percentile_ms(self, share: float) -> float:
        """Give a percentile of the latency in milliseconds."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))] * 1000


async def run(port: int, requests: Sequence[Callable[[], bytes]], seconds: float) -> Run:
    """Ask on one connection for each of `requests`, for so many seconds."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    connections: list[Connection] = []
    for next_request in requests:
        make = partial(Connection, next_request, began + seconds)
        _, connection = await loop.create_connection(make, "127.0.0.1", port)
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    return Run(connections, time.perf_counter() - began)


def request(method: str, path: str, token: str, body: bytes = b"", headers: str = "") -> bytes:
    """Give the bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}"
    if method != "GET":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body
