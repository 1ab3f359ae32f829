"""One house for a whole file of tests: two replicas that share the book and the bell, and people."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest_asyncio

from server.settings import Settings
from storage.book import Book
from tests.people import Client, People, Person
from tests.servers import Replica, Servers


class House:
    """Replicas of a file of tests, in the file's own loop; `here` and `there` have no limits."""

    def __init__(self, servers: Servers, book: Book, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
        self.servers = servers
        self.book = book
        self.http = http
        self.people = People(book, http)
        self.here: Replica
        self.there: Replica
        self._stack = stack
        self._count = 0

    async def replica(self, **settings: Any) -> Replica:
        """Start one more replica, with settings of the test's choice; it stops after the file's last test."""
        self._count += 1
        chosen: dict[str, Any] = {
            "database_url": self.servers.database_url,
            "redis_url": self.servers.redis_url,
            "replica": f"house-{self._count}",
            **settings,
        }
        made = await Replica(Settings(**chosen)).start()
        self._stack.push_async_callback(made.stop)
        return made

    def guest(self, replica: Replica | None = None, **headers: str) -> Client:
        """Give a client that nobody has logged in yet."""
        return Client(self.http, (replica or self.here).url, headers=headers)

    def desk(self, person: Person) -> Client:
        """Give somebody's client at the first replica."""
        return person.via(self.here)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(servers: Servers) -> AsyncIterator[House]:
    """The house; its tests need `pytest.mark.asyncio(loop_scope="module")`."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        book = Book(servers.database_url, pool_size=4, name="test")
        await book.open()
        stack.push_async_callback(book.close)
        made = House(servers, book, http, stack)
        made.here = await made.replica(limits="off")
        made.there = await made.replica(limits="off")
        yield made


async def fill(client: Client, session: int, count: int, content: str = "{n}") -> list[int]:
    """Send so many messages and give their ids."""
    sent = await asyncio.gather(*(client.send(session, content.format(n=n)) for n in range(count)))
    return [answer.done(201)["message"]["id"] for answer in sent]
