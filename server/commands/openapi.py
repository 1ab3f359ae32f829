"""`openapi`: print the OpenAPI document."""

import argparse

import msgspec

from server.openapi import document
from server.routes import API
from server.wire.codec import encode


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--json", action="store_true", help="as ever: the document is JSON")


def run(options: argparse.Namespace) -> int:
    """Print the document."""
    print(msgspec.json.format(encode(document(API)), indent=2).decode())
    return 0
