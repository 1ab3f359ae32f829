"""`load`: the harness of `tests/load`, on a running stack."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from server.__main__ import CommandError
from server.commands import where
from server.embedded.places import HOUSE
from server.wire.codec import encode


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    where.add_data_dir(parser)
    parser.add_argument("--users", type=int, default=50, help="how many users (%(default)s)")
    parser.add_argument("--staff", type=int, default=4, help="how many staff, who answer them (%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="sends a second of all together (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long sends are begun (%(default)s)")
    parser.add_argument("--way", choices=("poll", "socket"), default="poll", help="how news arrives (%(default)s)")
    parser.add_argument("--hold", type=int, default=0, help="users' polls wait so many seconds for news (%(default)s)")
    parser.add_argument("--replicas", action="store_true", help="straight to the replicas instead of by the nodes")
    parser.add_argument("--url", action="append", default=[], help="a door of users elsewhere; may be repeated")
    parser.add_argument("--staff-url", action="append", default=[], help="a door of staff elsewhere (those of users)")
    secret = os.environ.get("CONCIERGE_NODE_SECRET", "")
    parser.add_argument("--node-secret", default=secret, help="for replicas that need it (CONCIERGE_NODE_SECRET)")
    parser.add_argument("--people", type=Path, help="the output of `seed`, where no database can be reached")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Put the load on, in a process of its own; exit code 1 when a promise was broken."""
    _check(options)
    plan = {
        **_doors(options),
        **{name: getattr(options, name) for name in ("users", "staff", "rate", "seconds", "way", "hold")},
        "people": str(options.people.resolve()) if options.people else "",
    }
    command = [sys.executable, "-P", "-m", "tests.load", *(["--json"] if options.json else [])]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    return subprocess.run(command, input=encode(plan), cwd=HOUSE, env=environment, check=False).returncode


def _check(options: argparse.Namespace) -> None:
    bounds = {
        "users": (1, 20_000),
        "staff": (1, 1_000),
        "rate": (0.1, 50_000),
        "seconds": (0.1, 3_600),
        "hold": (0, 25),
    }
    for name, (least, most) in bounds.items():
        if not least <= getattr(options, name) <= most:
            raise CommandError(f"--{name} must be from {least} to {most:,}.", 2)
    if options.people and not options.people.is_file():
        raise CommandError(f"{options.people} is no file.", 2)


def _doors(options: argparse.Namespace) -> dict[str, Any]:
    """Give the doors, and the database where people are made."""
    stack = where.running_stack(options.data_dir)
    database = os.environ.get("DATABASE_URL") or (str(stack["database_url"]) if stack and not options.url else "")
    if options.url:
        if not database and not options.people:
            raise CommandError("Who is to talk there? Set DATABASE_URL, or name the output of seed by --people.", 2)
        users, secret = options.url, options.node_secret
        return _plan(users, options.staff_url or users, secret, database)
    if stack is None:
        raise CommandError(f"There is no stack in {options.data_dir} that runs. Start one with ./concierge up.")
    if options.replicas:
        urls = [replica["url"] for replica in stack["replicas"]]
        return _plan(urls, urls, stack["node_secret"], database)
    nodes = stack["nodes"]
    return _plan([node["user_entry"] for node in nodes], [node["staff_entry"] for node in nodes], "", database)


def _plan(users: list[str], staff: list[str], secret: str, database: str) -> dict[str, Any]:
    return {"user_doors": users, "staff_doors": staff, "node_secret": secret, "database_url": database}
