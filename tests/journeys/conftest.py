"""Every journey is made by both doors: the socket, and HTTP with polls."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.people import Client, Person
from tests.sockets import SocketDoor

Via = Callable[[Person, Any], Client]


@pytest.fixture(params=["socket", "poll"])
async def via(request: pytest.FixtureRequest) -> AsyncIterator[Via]:
    """Gives the client of a person at a replica; it sends, and asks what is new, by this journey's door."""
    doors: dict[tuple[str, str], Client] = {}

    def give(person: Person, replica: Any) -> Client:
        plain = person.via(replica)
        key = (person.token, plain.url)
        if key not in doors:
            doors[key] = SocketDoor(person, plain.url) if request.param == "socket" else plain
        return doors[key]

    yield give
    for door in doors.values():
        if isinstance(door, SocketDoor):
            await door.close()
