"""`bench`: the benchmarks of `tests/bench`."""

import argparse
import subprocess
import sys

from server.__main__ import CommandError
from server.embedded.places import HOUSE

NAMES = ("polls", "sends", "lone", "push", "sockets")


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("names", nargs="*", choices=NAMES, help="which benchmarks (all)")
    parser.add_argument("--runs", type=int, default=5, help="medians of so many runs (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Measure, in a process of its own, and print the figures."""
    if options.runs < 1 or not 0 < options.seconds <= 3600:
        raise CommandError("--runs must be at least 1, and --seconds more than 0 and at most 3600.", 2)
    command = [sys.executable, "-P", "-m", "tests.bench", *options.names]
    command += ["--runs", str(options.runs), "--seconds", str(options.seconds)]
    return subprocess.run(command + (["--json"] if options.json else []), cwd=HOUSE, check=False).returncode
