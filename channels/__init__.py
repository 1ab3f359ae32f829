"""Realtime fan-out: topics and bytes. Knows nothing of accounts, HTTP or SQL.

    broker = Broker("redis://localhost:6379/0", on_gap=sweep, on_change=hurry)  # async (); (away: bool)
    await broker.start()                              # returns when Redis is ready, or known to be away
    outbox = Outbox(counters=broker.counters, on_overflow=cut_the_socket)
    broker.join(outbox, "account:7")
    await broker.subscribed("account:7")              # True: Redis confirmed it; False: Redis is away. Say hello now
    broker.publish(["account:7", "account:9"], payload)   # never awaits; own listeners have it when this returns
    while (batch := await outbox.take()) is not None:     # None: closed, or outbox.overflowed (close 4000)
        for payload in batch: await ws.send_bytes(payload)
    broker.leave(outbox)
    await broker.stop()

A held call joins with a `Waiter`, reads the book, and then `await waiter.wait(seconds)`. Who is online is
`Presence`'s business. `broker.is_away` and `broker.canary_age_seconds` tell `/readyz` and the sweep about Redis;
`broker.counters` are for `/metrics`.
"""

from channels.broker import Broker
from channels.counters import Counters
from channels.hub import Hub, Listener
from channels.outbox import Outbox, Waiter
from channels.presence import Presence, Present

__all__ = ["Broker", "Counters", "Hub", "Listener", "Outbox", "Presence", "Present", "Waiter"]
