"""A replica as a part of the stack."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from server.embedded.part import Part

# A drain takes 3 s for the nodes to turn away and up to 5 s for calls in flight.
STOP_SECONDS = 10.0


def replica_part(number: int, port: int, log: Path, environment: Mapping[str, str]) -> Part:
    """Give the part of one replica on a loopback port."""
    return Part(
        f"replica {number}",
        lambda: [sys.executable, "-P", "-m", "server", "serve"],
        log,
        lambda: answers(port, "/readyz"),
        environment={
            **environment,
            "CONCIERGE_HOST": "127.0.0.1",
            "CONCIERGE_PORT": str(port),
            "CONCIERGE_REPLICA": str(number),
        },
        stop_seconds=STOP_SECONDS,
    )


async def answers(port: int, path: str) -> bool:
    """Say whether a loopback port answers GET `path` with 200."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
            return line.split(b" ")[1:2] == [b"200"]
    return False
