"""Builds the house: settings, the book, the bell, limits, routes; drains it on stop."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import uvloop
from aiohttp import web

from channels import Broker, Presence
from server import logs, meters, openapi
from server.actions import presence
from server.actions.sweep import Sweep
from server.auth import Passwords, Tokens
from server.context import Context, Held, Tasks
from server.errors import Close
from server.limits import Limits
from server.metrics import Metrics
from server.middleware import surround
from server.recent import Seen, Tellings
from server.routes import API, BASE, OPERATION
from server.routes.door import CONTEXT, Route, handle
from server.settings import Settings
from server.sockets import Sockets
from storage.book import Book

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024
# Nginx keeps idle connections for 60 s: it must be the one to close, or a request meets a closing door.
KEEPALIVE_SECONDS = 75.0
# How long answers carry `Connection: close` while nodes learn that this replica goes away.
DRAIN_SECONDS = 3.0
# Longer than the deadline of any call in flight.
SHUTDOWN_SECONDS = 5.0
BACKLOG = 1024


def build(settings: Settings) -> web.Application:
    """Give the application; everything it holds opens in order at start and closes in reverse at stop."""
    app = web.Application(client_max_size=BODY_BYTES)
    app.cleanup_ctx.append(lambda app: _house(app, settings))
    app.on_shutdown.append(_close_sockets)
    for route in OPERATION:
        _add(app, "", route)
        _add(app, "", replace(route, method="HEAD"))  # what some load balancers ask
    for route in API:
        _add(app, BASE, route)
    openapi.add(app, API)
    app.router.add_route("*", "/{path:.*}", surround("unknown", _context, _nothing_here))
    return app


def _context(request: web.Request) -> Context:
    return request.app[CONTEXT]


async def _nothing_here(request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def _add(app: web.Application, base: str, route: Route) -> None:
    # Ids are digits; any other path is simply not there.
    path = route.path.replace("{id}", r"{id:\d{1,19}}")
    name = f"{route.method} {base}{route.path}"
    app.router.add_route(route.method, base + path, surround(name, _context, handle(route)))


async def _house(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    replica = settings.replica or f"{socket.gethostname()}:{settings.port}"
    book = Book(settings.database_url, pool_size=settings.pool_size, name=f"concierge {replica}")
    context = Context(
        settings=settings,
        book=book,
        broker=Broker(settings.redis_url),
        presence=Presence(settings.redis_url, replica),
        limits=Limits(settings),
        passwords=Passwords(),
        tokens=Tokens(settings),
        tasks=Tasks(),
        held=Held(),
        sockets=Sockets(),
        seen=Seen(),
        told=Tellings(),
        metrics=Metrics(),
    )
    meters.attach(context)
    app[CONTEXT] = context
    sweep = Sweep(context)
    context.broker.on_gap = sweep.tell_again
    context.broker.on_change = sweep.hurry
    context.presence.on_gone = partial(presence.gone, context)
    await book.open()
    await context.broker.start()
    await context.presence.start()
    await sweep.start()
    yield
    await sweep.stop()
    await context.tasks.drain(2.0)
    await context.presence.stop()
    await context.broker.stop()
    await context.limits.close()
    await book.close()


async def _close_sockets(app: web.Application) -> None:
    """Close what a drain has not closed, or aiohttp would wait for it."""
    for left in app[CONTEXT].sockets:
        left.part(Close.GOING_AWAY)


def serve(settings: Settings) -> None:
    """Run one replica until SIGTERM or SIGINT, then drain it."""
    logs.start(settings.log_level, settings.replica or str(settings.port))
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = build(settings)
    runner = web.AppRunner(
        app,
        access_log=None,  # Nginx logs; formatting a line a request would cost a tenth of a poll
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
    await site.start()
    # What lives now lives for ever: the collector need not look at it again, nor after every 700 objects of a
    # request; reference counts free those.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    log.info("listening on %s:%d", settings.host, settings.port)
    await _until_stopped()
    log.info("draining")
    await drain(app, site)
    await runner.cleanup()


async def _until_stopped() -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    await stopped.wait()


async def drain(app: web.Application, site: web.BaseSite) -> None:
    """Stop listening, let held calls and sockets go, and say `Connection: close` until the nodes have turned away."""
    context = app[CONTEXT]
    context.held.drain()
    await site.stop()
    await asyncio.gather(context.sockets.drain(), asyncio.sleep(DRAIN_SECONDS))
