"""Waiting for a condition instead of hoping for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], seconds: float = 5.0) -> T:
    """Give what the condition gives once it is true; fail loudly when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, "The condition did not come true in time."
        await asyncio.sleep(0.01)
    return found
