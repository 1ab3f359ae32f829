"""A lone poll and a lone send: what the batcher adds to the same call made straight on a connection."""

import secrets
import time
from collections.abc import Awaitable, Callable
from statistics import median

from storage.book import FUNCTIONS, PROBES_ONLY, Book
from storage.database import Lane
from storage.messages import PollFlight, Position
from storage.sends import FUNCTION, Send, SendFlight, Sent
from tests.bench.house import House

CALLS = 300


def _nobody(call: Send, sent: Sent) -> None:
    """Nobody listens."""


async def _milliseconds(call: Callable[[], Awaitable[object]]) -> float:
    """Give the median time of one call after the other."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return median(times) * 1000


async def measure(house: House, runs: int, seconds: float) -> dict[str, float]:
    """Alternate between batched and unbatched; gives the medians and the medians of the ratios."""
    book = Book(house.postgres.url, pool_size=2)
    await book.open()
    lane = Lane(house.postgres.url, FUNCTIONS + PROBES_ONLY + FUNCTION, "bench", book.counters)
    user = house.users[-1]
    position = Position(user.account_id, user.session_ids[0], 0)

    def send() -> Send:
        key = secrets.token_hex(8)
        return Send(user.account_id, user.session_ids[0], "こんばんは。", key, None, None, True, _nobody)

    polls, sends = PollFlight(), SendFlight()
    pairs: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]] = {
        "poll": (lambda: book.polls.call(position), lambda: polls.fly(lane, [position])),
        "send": (lambda: book.sends.call(send()), lambda: sends.fly(lane, [send()])),
    }
    found: dict[str, float] = {}
    for name, (batched, straight) in pairs.items():
        await _milliseconds(batched)
        await _milliseconds(straight)
        ratios, ours = [], []
        for _ in range(runs):
            base = await _milliseconds(straight)
            ours.append(await _milliseconds(batched))
            ratios.append(ours[-1] / base)
        found[f"lone {name} ms"] = median(ours)
        found[f"{name} against unbatched"] = median(ratios)
    await book.close()
    await lane.close()
    return found
