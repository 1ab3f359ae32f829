"""Real nodes for the tests, and a tap between a node and a replica that keeps every byte."""

import asyncio
import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.embedded.nodes import NginxNode, NodeOptions

SECRET = "the-nodes-secret-of-the-tests"


def free_ports(count: int) -> list[int]:
    """Give loopback ports that were free a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def port_of(upstream: Any) -> int:
    """Give the port of a replica, a process or a tap."""
    return int(urlsplit(upstream.url).port or 0)


class TestNode(NginxNode):
    """A node in a directory of its own.

    Args:
        seconds: other read timeouts, by the ones in the template: `{75: 1}`.
    """

    __test__ = False

    def __init__(
        self,
        directory: Path,
        upstreams: Sequence[Any],
        number: int = 1,
        limits: str = "off",
        seconds: dict[int, float] | None = None,
        **options: Any,
    ) -> None:
        user, staff = free_ports(2)
        self.user, self.staff = f"http://127.0.0.1:{user}", f"http://127.0.0.1:{staff}"
        self._seconds = seconds or {}
        told = NodeOptions(
            number=number,
            user_port=user,
            staff_port=staff,
            replica_ports=[port_of(upstream) for upstream in upstreams],
            secret=SECRET,
            origins=options.pop("origins", [self.user, self.staff]),
            environment={**os.environ, "CONCIERGE_LIMITS": limits},
            **options,
        )
        self.log = directory / f"node-{number}.log"
        self.config = directory / str(number) / "entry.conf"
        super().__init__(told, directory / str(number), self.log)

    def _prepare(self) -> None:
        super()._prepare()
        text = self.config.read_text()
        for known, wanted in self._seconds.items():
            text, found = re.subn(rf"read_timeout {known}s", f"read_timeout {round(wanted * 1000)}ms", text)
            assert found, f"No read timeout has {known} s any more."
        self.config.write_text(text)

    async def start(self) -> "TestNode":
        await self.part.start()
        return self

    async def stop(self) -> None:
        await self.part.stop()


class Tap:
    """Passes bytes on to an upstream and back, and keeps what the upstream got."""

    def __init__(self, upstream: Any) -> None:
        self._port = port_of(upstream)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.received = bytearray()
        self.url = ""

    async def start(self) -> "Tap":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers |= {writer, far_writer}
            back = asyncio.create_task(self._pass_on(far_reader, writer, bytearray()))
            await self._pass_on(reader, far_writer, self.received)
            await asyncio.wait({back})
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                kept += data
                writer.write(data)
                await writer.drain()
        writer.close()

    def headers(self, name: str) -> set[str]:
        """Give every value that a header had, in any request."""
        found = re.findall(rb"\r\n" + re.escape(name.encode()) + rb": ([^\r]*)", bytes(self.received), re.IGNORECASE)
        return {value.decode() for value in found}
