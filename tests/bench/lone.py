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

CALLS = 400


def _nobody(call: Send, sent: Sent) -> None:
    """Nobody listens."""


async def _alternate(
    ours: Callable[[], Awaitable[object]], base: Callable[[], Awaitable[object]]
) -> tuple[float, float]:
    """Give both median times in milliseconds, one call of each in turn: a machine's mood lasts longer than a call."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(CALLS):
        for call, taken in zip((ours, base), times, strict=True):
            began = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - began)
    return median(times[0]) * 1000, median(times[1]) * 1000


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
        await _alternate(batched, straight)
        timed = [await _alternate(batched, straight) for _ in range(runs)]
        found[f"lone {name} ms"] = median(ours for ours, _ in timed)
        found[f"{name} against unbatched"] = median(ours / base for ours, base in timed)
    await book.close()
    await lane.close()
    return found
