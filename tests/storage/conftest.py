"""Fixtures of the book's tests."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.servers import Servers
from tests.storage.flights import Director


@pytest.fixture
def director() -> Director:
    """A flight that the test directs."""
    return Director()


@pytest.fixture
async def scratch(servers: Servers) -> AsyncIterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"scratch_{secrets.token_hex(4)}"
    owner = await asyncpg.connect(servers.database_url)
    await owner.execute(f"create database {name}")
    yield urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    await owner.execute(f"drop database {name} with (force)")
    await owner.close()
