"""The embedded stack: which parts there are, in which order they start, and what they are told."""

import asyncio
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrations.run import MigrationError, migrate
from server.embedded import demo
from server.embedded.nodes import NginxNode, NodeOptions
from server.embedded.part import Part, PartError
from server.embedded.places import FIRST_START, HOUSE
from server.embedded.postgres import Postgres
from server.embedded.replica import replica_part
from server.embedded.valkey import Valkey

# Ports beyond the first: the other node, the staff entries, replicas, the frontend.
NODE_2, STAFF, REPLICAS, FRONTEND = 1, 10, 20, 30
NODES = (1, 2)
WELCOME_CREDITS = 100


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What `up` was asked for."""

    data_dir: Path
    port: int = 8080
    replicas: int = 2
    frontend: bool = True
    demo: bool = True


def ports(options: StackOptions) -> Iterator[int]:
    """Give every port that the stack listens on."""
    for node in NODES:
        yield from node_ports(options, node)
    for number in range(options.replicas):
        yield options.port + REPLICAS + number


def node_ports(options: StackOptions, node: int) -> tuple[int, int]:
    """Give the ports of a node's user entry and staff entry."""
    user_entry = options.port + NODE_2 * (node - 1)
    return user_entry, user_entry + STAFF


@dataclass(slots=True)
class Stack:
    """All parts of one stack.

    `DATABASE_URL` and `REDIS_URL` in the environment name real servers; what is named is not started.
    """

    options: StackOptions
    say: Callable[[str], None]
    is_ready: bool = False
    database_url: str = ""
    redis_url: str = ""
    _has_demo: bool = False
    _postgres: Postgres | None = None
    _valkey: Valkey | None = None
    _replicas: list[Part] = field(default_factory=list)
    _nodes: list[NginxNode] = field(default_factory=list)
    _started: list[Part] = field(default_factory=list)
    _pids: dict[str, int] = field(default_factory=dict)

    async def start(self) -> None:
        """Start every part in order.

        Raises:
            PartError: one of them cannot be started; one line says why.
        """
        self._file("stack.json").unlink(missing_ok=True)
        self.options.data_dir.chmod(0o711)  # PostgreSQL's own user must get through when we are root
        await self._start_servers()
        self.say("Bringing the database to the newest schema …")
        try:
            await asyncio.to_thread(migrate, self.database_url)
        except MigrationError as error:
            raise PartError(str(error)) from None
        if self._postgres is not None:
            await self._end_first_start()
        await self._start_replicas()
        await self._start_nodes()
        for part in self._started:
            part.watch(self.say, self._write_stack_file)
        self._write_stack_file()
        self.is_ready = True

    async def _end_first_start(self) -> None:
        """Plant what a new cluster is to begin with; from here on it is somebody's."""
        if self._file(FIRST_START).exists() and self.options.demo:
            self.say("Planting demo data …")
            await demo.plant(self.database_url)
        self._file(FIRST_START).unlink(missing_ok=True)
        self._has_demo = await demo.is_planted(self.database_url)

    async def _start_servers(self) -> None:
        """Start PostgreSQL and Valkey together."""
        self.database_url = os.environ.get("DATABASE_URL", "")
        self.redis_url = os.environ.get("REDIS_URL", "")
        starts = []
        if not self.database_url:
            self._postgres = Postgres(self.options.data_dir)
            if self._file(FIRST_START).exists():
                await asyncio.to_thread(self._postgres.discard)
            self.say("Making a new PostgreSQL cluster …" if self._postgres.is_fresh else "Starting PostgreSQL …")
            if self._postgres.is_untouched:  # else what is there is not ours to delete
                self._file(FIRST_START).touch()
            self._started.append(self._postgres.part)
            starts.append(self._postgres.start())
        if not self.redis_url:
            self._valkey = Valkey(self.options.data_dir)
            self.say("Starting Valkey …")
            self._started.append(self._valkey.part)
            starts.append(self._valkey.start())
        await asyncio.gather(*starts)
        if self._postgres is not None:
            self.database_url = self._postgres.url
        if self._valkey is not None:
            self.redis_url = self._valkey.url

    async def _start_replicas(self) -> None:
        self.say(f"Starting {self.options.replicas} replicas …")
        for number in range(self.options.replicas):
            port = self.options.port + REPLICAS + number
            log = self.options.data_dir / "logs" / f"replica-{number + 1}.log"
            self._replicas.append(replica_part(number + 1, port, log, self._environment()))
        self._started += self._replicas
        await asyncio.gather(*(replica.start() for replica in self._replicas))

    async def _start_nodes(self) -> None:
        self.say("Starting the nodes …")
        replica_ports = [self.options.port + REPLICAS + number for number in range(self.options.replicas)]
        for number in NODES:
            user_port, staff_port = node_ports(self.options, number)
            told = NodeOptions(number, user_port, staff_port, replica_ports, self._node_secret(), list(self._origins()))
            log = self.options.data_dir / "logs" / f"node-{number}.log"
            self._nodes.append(NginxNode(told, self.options.data_dir / "nodes" / str(number), log))
        self._started += [node.part for node in self._nodes]
        await asyncio.gather(*(node.part.start() for node in self._nodes))

    def _environment(self) -> dict[str, str]:
        """Give a replica's settings. Whoever sets one of them outside means it."""
        ours = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "CONCIERGE_NODE_SECRET": self._node_secret(),
            "CONCIERGE_ALLOWED_ORIGINS": ",".join(self._origins()),
            "PYTHONPATH": str(HOUSE),
        }
        defaults = {"CONCIERGE_WELCOME_CREDITS": str(WELCOME_CREDITS), "CONCIERGE_STAFF_ENTRY": "required"}
        return {**{name: os.environ.get(name, value) for name, value in defaults.items()}, **ours}

    def _origins(self) -> Iterator[str]:
        for node in NODES:
            for port in node_ports(self.options, node):
                for host in ("127.0.0.1", "localhost"):
                    yield f"http://{host}:{port}"

    def _node_secret(self) -> str:
        """Give the nodes' secret, made once for a data directory."""
        path = self._file("node-secret")
        if not path.exists():
            _write_private(path, secrets.token_hex(32))
        return path.read_text().strip()

    def _file(self, name: str) -> Path:
        return self.options.data_dir / name

    def _describe(self) -> dict[str, Any]:
        """Give what `stack.json` says."""
        return {
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "replicas": [
                {"url": f"http://127.0.0.1:{self.options.port + REPLICAS + number}", "pid": self._pid(replica)}
                for number, replica in enumerate(self._replicas)
            ],
            "nodes": [
                {
                    "site": node.site,
                    "user_entry": f"http://127.0.0.1:{node.options.user_port}",
                    "staff_entry": f"http://127.0.0.1:{node.options.staff_port}",
                    "pid": self._pid(node.part),
                }
                for node in self._nodes
            ],
            "frontend": None,
            "postgres": {"pid": self._pid(self._postgres.part)} if self._postgres else None,
            "redis": {"pid": self._pid(self._valkey.part)} if self._valkey else None,
            "node_secret": self._node_secret(),
        }

    def _pid(self, part: Part) -> int:
        """Give a part's process id; while it is down the last one, for 0 would mean "all of us" to who signals it."""
        if part.pid:
            self._pids[part.name] = part.pid
        return self._pids.get(part.name, 0)

    def _write_stack_file(self) -> None:
        """Tell tools what runs where; whole or not at all, and for our eyes alone."""
        new = self._file("stack.json.new")
        _write_private(new, json.dumps(self._describe(), indent=2))
        new.replace(self._file("stack.json"))

    def table(self) -> str:
        """Give the addresses and logins for people."""
        rows = []
        for node in self._nodes:
            rows += [
                (f"{node.site}: users", f"http://127.0.0.1:{node.options.user_port}"),
                (f"{node.site}: staff and admins", f"http://127.0.0.1:{node.options.staff_port}"),
            ]
        rows += [
            (f"replica {number + 1}", f"http://127.0.0.1:{self.options.port + REPLICAS + number}")
            for number in range(self.options.replicas)
        ]
        if self._has_demo:
            rows.append(
                ("demo logins", f"user1 … user5, staff1, staff2, admin  @example.com, password {demo.PASSWORD}")
            )
        width = max(len(name) for name, _ in rows)
        return "\n".join(["", *(f"  {name:<{width}}  {value}" for name, value in rows), ""])

    async def stop(self) -> None:
        """Stop every part, the last started first; but replicas before all, together: they tell their clients."""
        self._file("stack.json").unlink(missing_ok=True)
        servers = [part for part in self._started if part not in self._replicas]
        await asyncio.gather(*(replica.stop() for replica in self._replicas))
        for part in reversed(servers):
            await part.stop()

    def kill(self) -> None:
        """Kill everything at once."""
        for part in reversed(self._started):
            part.kill()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
