"""The command line. Errors are one sentence on stderr; exit code 2 for bad usage, 1 for a failed check."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

# Each is a module of `server.commands`, imported only when asked for: `up` must not wait for what `bench` needs.
COMMANDS = {
    "up": "Start the whole product on this machine.",
    "serve": "Run one replica; settings come from the environment.",
    "migrate": "Bring the database to the newest schema.",
    "test": "Run the tests; arguments go to pytest.",
    "check": "Check format, lint, types and the rules of the house.",
    "load": "Put load on a running stack.",
    "bench": "Measure, as ratios against a baseline in the same run.",
    "audit": "Check that the books balance.",
    "account": "Create and look after accounts.",
    "seed": "Make many accounts with sessions and tokens, for load tests.",
    "openapi": "Print the OpenAPI document.",
    "backup": "Write the database to a file.",
    "restore": "Read the database back from a file.",
}


class CommandError(Exception):
    """Something that people are told in one sentence."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class Parser(argparse.ArgumentParser):
    """Tells bad usage in one sentence as well; `--help` has the rest."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        self.exit(2, f"{self.prog}: {message.rstrip('.')}; see {self.prog} --help.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except CommandError as error:
        sys.stderr.write(f"concierge: {error}\n")
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads our words has enough of them; Python must not try again as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    parser = Parser(prog="concierge", description="A multi-site concierge chat platform.", allow_abbrev=False)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, says in COMMANDS.items():
        if name == chosen:
            module = importlib.import_module(f"server.commands.{name}")
            module.add(subparsers.add_parser(name, help=says, description=says, allow_abbrev=False))
        else:
            subparsers.add_parser(name, help=says)
    if chosen == "test":  # everything after it is pytest's
        from server.commands import test

        return test.run_pytest(words[words.index("test") + 1 :])
    options = parser.parse_args(words)
    return int(importlib.import_module(f"server.commands.{options.command}").run(options))


if __name__ == "__main__":
    # The module runs as `__main__`; commands raise the CommandError of `server.__main__`.
    sys.modules["server.__main__"] = sys.modules["__main__"]
    sys.exit(main())
