"""Nodes in front of the replicas of a test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import MakeReplica
from tests.proxy.nodes import SECRET, Tap, TestNode
from tests.servers import Replica

MakeNode = Callable[..., Awaitable[TestNode]]
MakeTap = Callable[[Any], Awaitable[Tap]]


@pytest.fixture
def node_directory() -> Iterator[Path]:
    """A directory that a node's workers can reach: pytest's own is closed to them."""
    with TemporaryDirectory(prefix="concierge-node-") as directory:
        yield Path(directory)


@pytest.fixture
async def make_node(node_directory: Path) -> AsyncIterator[MakeNode]:
    """Starts nodes in front of what is given."""
    made: list[TestNode] = []

    async def make(*upstreams: Any, **options: Any) -> TestNode:
        node = TestNode(node_directory, upstreams, number=len(made) + 1, **options)
        made.append(node)
        return await node.start()

    yield make
    for node in made:
        await node.stop()


@pytest.fixture
async def make_tap() -> AsyncIterator[MakeTap]:
    """Starts taps in front of what is given."""
    made: list[Tap] = []

    async def make(upstream: Any) -> Tap:
        made.append(await Tap(upstream).start())
        return made[-1]

    yield make
    for tap in made:
        await tap.stop()


@pytest.fixture
async def guarded(make_replica: MakeReplica) -> Replica:
    """A replica that believes nodes alone, and keeps each role to its entry."""
    return await make_replica(node_secret=SECRET, staff_entry="required")
