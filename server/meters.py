"""Which counters of which room `/metrics` reads at scrape."""

from collections.abc import Iterator
from dataclasses import asdict

from server.context import Context

# What the bell counts goes up only, but for its present state.
PRESENT = ("queue_length", "queue_bytes", "canary_seconds")


def attach(context: Context) -> None:
    """Have the counters of storage and channels read at scrape."""
    context.metrics.add_counters(lambda: _counters(context))
    context.metrics.add_gauges(lambda: _gauges(context))


def _counters(context: Context) -> Iterator[tuple[str, str, float]]:
    book = context.book
    yield "postgres_connects", "Connections made by lanes.", book.counters.connects
    yield "postgres_losses", "Connections lost or given up.", book.counters.losses
    yield "postgres_queries", "Queries asked.", book.counters.queries
    for name, batcher in (("sends", book.sends), ("polls", book.polls), ("checks", book.checks)):
        yield f"{name}_calls", f"Calls of the batcher of {name}.", batcher.counters.calls
        yield f"{name}_flights", f"Flights of the batcher of {name}.", batcher.counters.flights
        yield f"{name}_retries", f"Flights of {name} that flew again.", batcher.counters.retries
        yield f"{name}_overdue", f"Calls of {name} that met their deadline.", batcher.counters.overdue
    bell = asdict(context.broker.counters)
    for name, value in bell.items():
        if name not in PRESENT:
            yield f"bell_{name}", f"The bell's {name.replace('_', ' ')}.", value


def _gauges(context: Context) -> Iterator[tuple[str, str, float]]:
    for name in PRESENT:
        yield f"bell_{name}", f"The bell's {name.replace('_', ' ')}.", getattr(context.broker.counters, name)
    yield "redis_away", "1 while Redis is away.", float(context.broker.is_away)
    yield "sockets", "Websockets that are open.", len(context.sockets)
    yield "listeners", "Sockets and held calls that hear the bell.", len(context.broker.hub)
    yield "held_calls", "Calls held until something happens.", len(context.held)
    for name, batcher in (("sends", context.book.sends), ("polls", context.book.polls)):
        yield f"{name}_waiting", f"Calls of {name} that wait or fly.", len(batcher)
