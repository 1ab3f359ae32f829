"""`test`: pytest, on the real embedded servers."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from server.embedded.places import HOUSE

# What pytest ends with when it does not understand its arguments.
PYTEST_USAGE = 4


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("arguments", nargs="*", help="what pytest understands")


def run(options: argparse.Namespace) -> int:
    """Run the tests."""
    return run_pytest(options.arguments)


def run_pytest(arguments: Sequence[str]) -> int:
    """Run pytest in the house with these arguments, and give its exit code."""
    # A stack named in the environment is somebody's; the tests make their own.
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=HOUSE, env=environment, check=False)
    return 2 if done.returncode == PYTEST_USAGE else done.returncode
