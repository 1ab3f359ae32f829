"""`serve`: one replica."""

import argparse
import os

from server.__main__ import CommandError
from server.settings import Settings, SettingsError


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command: everything is in the environment."""


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    from server.app import serve

    try:
        settings = Settings.from_environ()
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
    try:
        serve(settings)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CommandError(f"Port {settings.port} cannot be listened on: {reason}.") from None
    return 0
