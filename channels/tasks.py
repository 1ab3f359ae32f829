"""Ending a task that speaks to Redis."""

import asyncio
from typing import Any


async def end(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel tasks until they have ended.

    One cancellation may be swallowed: by a task group one of whose children fails at that moment, or by `wait_for`
    (before Python 3.12) when what it waits for is done at that moment.
    """
    for task in tasks:
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
