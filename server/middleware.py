"""The one layer around every handler: an id for the request, a problem document for every error, a count."""

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from math import ceil

from aiohttp import hdrs, web
from multidict import CIMultiDict

from server.errors import Refusal, problem
from server.routes.door import CONTEXT
from server.wire.codec import encode
from storage.errors import LockTimeout, OutcomeUnknown, StorageError, Unavailable

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


@web.middleware
async def surround(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, whatever its handler does."""
    started = time.perf_counter()
    request_id = f"{_prefix}-{next(_numbers):x}"
    request["request_id"] = request_id
    try:
        response = await handler(request)
    except Exception as error:  # every surprise becomes an answer, and is logged in full
        response = respond(request, refusal_of(request, error), request_id)
    context = request.app[CONTEXT]
    context.metrics.seen(_route(request), response.status, time.perf_counter() - started)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        if context.held.draining:
            response.force_close()
    return response


_names: dict[tuple[str, web.AbstractResource], str] = {}


def _route(request: web.Request) -> str:
    """Name the request's route, the same for all ids."""
    resource = request.match_info.route.resource
    if resource is None:
        return "unknown"
    key = (request.method, resource)
    name = _names.get(key)
    if name is None:
        name = _names[key] = f"{request.method} {resource.canonical}"
    return name


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
