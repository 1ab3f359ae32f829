"""Idle polls with real tokens and the ownership check, against a bare aiohttp handler that returns the same bytes."""

from statistics import median

from tests.bench.house import House
from tests.bench.http_load import Run, request, run

CONNECTIONS = 32


async def measure(house: House, runs: int, seconds: float) -> dict[str, float]:
    """Alternate between both; gives the medians and the median of the ratios."""
    requests = [
        request("GET", f"/api/v1/messages/poll?session_id={user.session_ids[0]}&last_message_id=0", user.token)
        for user in house.users[:CONNECTIONS]
    ]
    calls = [lambda raw=raw: raw for raw in requests]
    ours: list[Run] = []
    bare: list[Run] = []
    await run(house.replica_port, calls, seconds / 2)
    for _ in range(runs):
        bare.append(await run(house.bare_port, calls, seconds))
        ours.append(await run(house.replica_port, calls, seconds))
    assert sum(one.failed for one in ours) == 0
    return {
        "idle polls/s": median(one.per_second for one in ours),
        "bare aiohttp/s": median(one.per_second for one in bare),
        "p99 ms": median(one.percentile_ms(0.99) for one in ours),
        "ratio": median(one.per_second / base.per_second for one, base in zip(ours, bare, strict=True)),
    }
