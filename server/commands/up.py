"""`up`: the whole product on this machine."""

import argparse
import asyncio
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.__main__ import CommandError
from server.commands import where
from server.embedded.part import PartError
from server.embedded.stack import Stack, StackOptions, ports
from server.settings import Settings, SettingsError

# Parts end when their supervisor dies; a replica that drains takes longest.
LEFTOVERS_SECONDS = 10.0


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--port", type=int, default=8080, help="the user entry of node 1; others follow (%(default)s)")
    parser.add_argument("--replicas", type=int, default=2, help="how many replicas (%(default)s)")
    parser.add_argument("--no-frontend", action="store_true", help="leave the frontend out")
    parser.add_argument("--no-demo", action="store_true", help="plant no demo data into a fresh data directory")


def run(options: argparse.Namespace) -> int:
    """Start everything, and stop it on Ctrl-C."""
    if not 1 <= options.replicas <= 8:
        raise CommandError("--replicas must be from 1 to 8.", 2)
    if not 1024 <= options.port <= 65_000:
        raise CommandError("--port must be from 1024 to 65000.", 2)
    ours = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}  # where none is named, as for the stack
    try:  # before anything is started
        Settings.from_environ({**os.environ, **{name: os.environ.get(name) or url for name, url in ours.items()}})
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
    chosen = StackOptions(
        data_dir=options.data_dir.expanduser().resolve(),
        port=options.port,
        replicas=options.replicas,
        frontend=not options.no_frontend,
        demo=not options.no_demo,
    )
    with _only_one(chosen.data_dir):
        _wait_for_ports(chosen)
        try:
            return asyncio.run(_up(chosen))
        except PartError as error:
            raise CommandError(str(error)) from None


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """Keep a second `up` off the same data directory."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "it is a file" if data_dir.is_file() else error.strerror
        raise CommandError(f"The data directory {data_dir} cannot be used: {why}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise CommandError(
            f"A stack is running in {data_dir} already. Stop it first, or name another --data-dir."
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def _wait_for_ports(options: StackOptions) -> None:
    """Make sure that every port is free; after an `up` that was killed its parts may still be on their way out."""
    was_killed = (options.data_dir / "stack.json").exists()
    until = time.monotonic() + (LEFTOVERS_SECONDS if was_killed else 0)
    while (port := next((port for port in ports(options) if not _is_free(port)), None)) is not None:
        if time.monotonic() >= until:
            raise CommandError(f"Port {port} is in use. Stop what uses it, or choose another --port.")
        time.sleep(0.1)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _up(options: StackOptions) -> int:
    stack = Stack(options, say)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    starting = asyncio.current_task()

    def stop() -> None:
        if stopped.is_set():  # a second Ctrl-C: no more patience
            stack.kill()
            os._exit(130)
        stopped.set()
        if starting is not None and not stack.is_ready:
            starting.cancel()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    try:
        await stack.start()
        say(stack.table())
        say("ready")
        await stopped.wait()
    except asyncio.CancelledError:
        say("Interrupted.")
    finally:
        say("Stopping …")
        await stack.stop()
        say("Everything has stopped; the data stays.")
    return 0
