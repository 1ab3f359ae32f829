"""/healthz, /readyz, /metrics: for those who run the house. No node passes them on."""

import asyncio

from aiohttp import web
from msgspec import Struct

from server.routes.door import Call, answer
from storage.errors import StorageError

# A load balancer asks every second or so; PostgreSQL answers in a millisecond or is away.
READY_SECONDS = 1.0


class Ready(Struct, frozen=True):
    """What a replica can do: `ready`, `degraded` (without Redis), `unavailable` (without PostgreSQL), `draining`."""

    status: str
    postgres: str
    redis: str


async def health(call: Call) -> web.Response:
    """Say that the process is alive."""
    return answer(b'{"status":"alive"}')


async def ready(call: Call) -> web.Response:
    """Say whether this replica should get requests."""
    context = call.context
    postgres = "ready"
    try:
        async with asyncio.timeout(READY_SECONDS):
            await context.book.fetchval("select 1")
    except (StorageError, TimeoutError):
        postgres = "away"
    redis = context.broker.state
    status = "ready" if redis == "ready" else "degraded"
    if postgres == "away":
        status = "unavailable"
    if context.held.draining:
        status = "draining"
    return answer(Ready(status, postgres, redis), 200 if status in ("ready", "degraded") else 503)


async def metrics(call: Call) -> web.Response:
    """Give Prometheus its numbers."""
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=call.context.metrics.text(), headers=headers)
