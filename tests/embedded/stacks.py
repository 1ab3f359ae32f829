"""`./concierge up` for the tests: one stack that they share, stopped at the end of the run."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from server.embedded.places import HOUSE

# What a stack takes, counted from its first port.
PORTS = 32
# Below the ports that the system hands out by itself.
FIRST_PORT, LAST_PORT = 12_000, 32_000
PAUSE_SECONDS = 0.02


def free_base() -> int:
    """Give a port that is free with the 31 after it."""
    while True:
        base = random.randrange(FIRST_PORT, LAST_PORT)
        if all(_is_free(base + number) for number in range(PORTS)):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def concierge(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the one command to its end."""
    return subprocess.run(
        [str(HOUSE / "concierge"), *arguments],
        env={**_own_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}


def wait_for(found: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Give what `found` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"{what} did not come in time."
        time.sleep(PAUSE_SECONDS)
    return result


class Up:
    """One `./concierge up`, and what it printed since its last start."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port
        self._output = data_dir.parent / f"{data_dir.name}.out"
        self._errors = data_dir.parent / f"{data_dir.name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, line: str = "ready") -> "Up":
        """Start it, and wait until it says this line."""
        command = [str(HOUSE / "concierge"), "up", "--no-frontend", "--data-dir", str(self.data_dir)]
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], env=_own_environment(), stdout=output, stderr=errors
            )
        self.wait_for_line(line)
        return self

    def wait_for_line(self, line: str, after: int = 0) -> None:
        """Wait until a line was printed, beyond the first `after` ones."""
        wait_for(lambda: line in self.lines[after:] or self._ended(), f"The line {line!r}")
        assert line in self.lines[after:], self._errors.read_text()

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def stack_file(self) -> Path:
        return self.data_dir / "stack.json"

    @property
    def stack(self) -> dict[str, Any]:
        """What it says of itself."""
        return dict(json.loads(self.stack_file.read_text()))

    @property
    def user_entry(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def staff_entry(self) -> str:
        return f"http://127.0.0.1:{self.port + 10}"

    def everybody(self) -> list[int]:
        """Give the process ids of the stack: what `up` started and what those started, then `up` itself."""
        assert self._process is not None
        return [*_descendants(self._process.pid), self._process.pid]

    def stop(self, name: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and give the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(name)
        return self._process.wait(30)

    def kill_everything(self) -> None:
        """Kill -9 every process at once, as when the power fails."""
        for pid in self.everybody():
            with suppress(ProcessLookupError):  # what an ending one started may end with it
                os.kill(pid, signal.SIGKILL)
        self.stop()


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it ended just now
            continue
        parents.setdefault(parent, []).append(int(status.parent.name))
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


@cache
def _shared() -> tuple[TemporaryDirectory[str], Up]:
    directory = TemporaryDirectory(prefix="concierge-test-")
    # A path as people have them: with a blank, and with what means something in URLs and in Nginx's configuration.
    return directory, Up(Path(directory.name) / "データ 100% #1", free_base()).start()


@pytest.fixture(scope="session")
def stack() -> Iterator[Up]:
    """The stack that all rooms share; each test leaves it running. Imported by the rooms that need it."""
    directory, up = _shared()
    yield up
    up.stop()
    directory.cleanup()
