"""The one layer around every handler: an id for the request, a problem document for every error, a count.

It is a plain function around each handler: aiohttp's own middlewares cost a poll some 7 µs more.
"""

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from math import ceil

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from server.context import Context
from server.errors import Refusal, problem
from server.wire.codec import encode
from storage.errors import LockTimeout, OutcomeUnknown, StorageError, Unavailable

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

X_REQUEST_ID = istr("X-Request-Id")

_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


def surround(name: str, context: Callable[[web.Request], Context], handler: Handler) -> Handler:
    """Give a handler that answers every request, whatever `handler` does.

    Args:
        name: the route's name in the metrics, the same for all ids.
    """

    async def surrounded(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = f"{_prefix}-{next(_numbers):x}"
        house = context(request)
        try:
            response = await handler(request)
        except Exception as error:  # every surprise becomes an answer, and is logged in full
            response = respond(request, refusal_of(request, error), request_id)
        house.metrics.seen(name, response.status, time.perf_counter() - started)
        if not response.prepared:
            response.headers[X_REQUEST_ID] = request_id
            if house.held.draining:
                response.force_close()
        return response

    return surrounded


def refusal_of(request: web.Request, error: Exception) -> Refusal:
    """Give the refusal of an error: in this one place everything that can go wrong becomes a code."""
    match error:
        case Refusal():
            return error
        case Unavailable() | LockTimeout():
            return Refusal("unavailable")
        case OutcomeUnknown():
            return Refusal("outcome_unknown")
        case web.HTTPRequestEntityTooLarge():
            return Refusal("body_too_large")
        case web.HTTPNotFound() | web.HTTPMethodNotAllowed():
            return Refusal("not_found", "There is no such call.")
        case web.HTTPException() if error.status < 500:
            return Refusal("malformed_body", error.reason)
    # The path alone: a query, a header or a body may hold what no log should.
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    safe = request.method in ("GET", "HEAD")
    kind = "unavailable" if safe or isinstance(error, StorageError) else "outcome_unknown"
    return Refusal(kind)


def respond(request: web.Request, refusal: Refusal, request_id: str) -> web.Response:
    """Give the problem document of a refusal, in Japanese where the client prefers it."""
    language = request.headers.get(hdrs.ACCEPT_LANGUAGE, "").strip()[:2].lower()
    headers = CIMultiDict({hdrs.CONTENT_TYPE: "application/problem+json"})
    if refusal.status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if "retry_after_ms" in refusal.extra:
        headers[hdrs.RETRY_AFTER] = str(ceil(refusal.extra["retry_after_ms"] / 1000))
    elif refusal.status == 503:
        headers[hdrs.RETRY_AFTER] = "1"
    body = encode(problem(refusal, request_id, language))
    return web.Response(body=body, status=refusal.status, headers=headers)
