"""A part of the stack: one process that is started, watched, and started again when it dies."""

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
# A crash loop must not eat the machine, and a single crash should hardly be noticed.
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 5.0
# Who lived this long was no crash loop.
SETTLED_SECONDS = 10.0
READY_PAUSE_SECONDS = 0.05

_libc = ctypes.CDLL(None, use_errno=True)


class PartError(Exception):
    """A part could not be started; the message is one line for people."""


def _become(user: str | None) -> Callable[[], None]:
    """Give what a child does before it runs: be `user`, and stop when its parent is gone.

    In this order, for the kernel forgets the wish when a process changes its user.
    """
    entry = None if user is None else pwd.getpwnam(user)

    def become() -> None:
        if entry is not None:
            os.setgroups([])
            os.setgid(entry.pw_gid)  # root's group would be judged by the group bits
            os.setuid(entry.pw_uid)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return become


class Part:
    """One process of the stack.

    Args:
        name: what people call it.
        command: the program and its arguments, as a function, for a restart may need others.
        log: where its output goes.
        is_ready: answers whether it does its work; asked again and again after the start.
        ready_seconds: how long that may take.
        stop_signal: what asks it to stop in an orderly way.
        stop_seconds: how long that may take before it is killed.
        user: the system user it runs as, None for our own.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        log: Path,
        is_ready: Callable[[], Awaitable[bool]],
        *,
        environment: Mapping[str, str] | None = None,
        ready_seconds: float = 20.0,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = 10.0,
        user: str | None = None,
        before_start: Callable[[], None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._is_ready = is_ready
        self._environment = environment
        self._ready_seconds = ready_seconds
        self._stop_signal = stop_signal
        self._stop_seconds = stop_seconds
        self._user = user
        self._before_start = before_start
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            PartError: it died or was not ready in time; the message ends with its last line.
        """
        if self._before_start is not None:
            self._before_start()
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # nodes write users' addresses
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if self._environment is None else {**os.environ, **self._environment},
                cwd=self._cwd,
                # Of its own, so that Ctrl-C reaches the supervisor alone and parts stop in order.
                start_new_session=True,
                preexec_fn=_become(self._user),
            )
        await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(self._ready_seconds):
                while not await self._is_ready():
                    if self.pid == 0:
                        raise PartError(f"{self.name} stopped right after its start: {self._last_words()}")
                    await asyncio.sleep(READY_PAUSE_SECONDS)
        except TimeoutError:
            await self._end()
            raise PartError(
                f"{self.name} was not ready within {self._ready_seconds:.0f} seconds: {self._last_words()}"
            ) from None

    def _last_words(self) -> str:
        """Give the last line of the log, which usually says what is wrong."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing."

    def watch(self, say: Callable[[str], None], on_back: Callable[[], None]) -> None:
        """Start it again whenever it dies, with a line that says so; `on_back` hears of its new process id."""
        self._watch = asyncio.get_running_loop().create_task(self._keep_alive(say, on_back), name=f"watch {self.name}")

    async def _keep_alive(self, say: Callable[[str], None], on_back: Callable[[], None]) -> None:
        pause = BACKOFF_FIRST_SECONDS
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            if self._process is not None:
                await self._process.wait()
            if self._stopping:
                return
            pause = BACKOFF_FIRST_SECONDS if loop.time() - began > SETTLED_SECONDS else pause
            say(f"{self.name} has stopped; starting it again …")
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_MOST_SECONDS)
            try:
                await self.start()
                on_back()
                say(f"{self.name} is back.")
            except (PartError, OSError) as error:
                say(f"{error}")

    async def stop(self) -> None:
        """Stop it in an orderly way, or kill it when that takes too long."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self._stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self._stop_seconds)
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """Kill it with everything it started."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
