"""Paid sends over HTTP, against pgbench making the same send as one call a transaction."""

import itertools
import re
import secrets
from collections.abc import Callable
from statistics import median

from storage.sends import FUNCTION
from tests.bench.house import House, tool
from tests.bench.http_load import Run, request, run

CONNECTIONS = 32
CONTENT = "こんばんは。来月の旅行について相談させてください。"


def _sender(session_id: int, token: str) -> Callable[[], bytes]:
    numbers = itertools.count()
    stem = secrets.token_hex(8)
    body = f'{{"session_id":{session_id},"content":"{CONTENT}"}}'.encode()

    def next_request() -> bytes:
        return request("POST", "/api/v1/messages", token, body, f"Idempotency-Key: {stem}-{next(numbers)}\r\n")

    return next_request


async def _pgbench(house: House, seconds: int) -> float:
    """Give the transactions a second of pgbench: the function that the flights call, with one send a call."""
    script = house.directory / "send.pgbench"
    first, last = house.users[0], house.users[-1]
    script.write_text(
        f"\\set n random({first.account_id}, {last.account_id})\n\\set k random(1, 9000000000000000)\n"
        f"select * from bench_send(array[:n::bigint], array[:n - {first.account_id - first.session_ids[0]}::bigint],"
        f" array['{CONTENT}'], array['pg' || :k], array[null::int], array[null::bigint]);\n"
    )
    output = await tool(
        "pgbench", "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2", "-T", str(seconds),
        "-f", str(script), house.postgres.url,
    )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", output)
    assert found is not None
    return float(found.group(1))


async def measure(house: House, runs: int, seconds: float) -> dict[str, float]:
    """Alternate between both; gives the medians and the median of the ratios."""
    await house.psql(FUNCTION.replace("pg_temp.send_messages", "bench_send").replace("send_messages.", "bench_send."))
    ours: list[Run] = []
    base: list[float] = []
    calls = [_sender(user.session_ids[0], user.token) for user in house.users[:CONNECTIONS]]
    await run(house.replica_port, calls, seconds / 2)
    for _ in range(runs):
        base.append(await _pgbench(house, max(1, round(seconds))))
        ours.append(await run(house.replica_port, calls, seconds))
    assert sum(one.failed for one in ours) == 0
    return {
        "paid sends/s": median(one.per_second for one in ours),
        "pgbench/s": median(base),
        "p99 ms": median(one.percentile_ms(0.99) for one in ours),
        "ratio": median(one.per_second / tps for one, tps in zip(ours, base, strict=True)),
    }
