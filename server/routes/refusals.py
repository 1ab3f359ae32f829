"""In this one place everything that can go wrong becomes a code, and a code a problem document."""

import logging
from math import ceil

from aiohttp import hdrs, web
from multidict import CIMultiDict

from server.errors import Refusal, problem
from server.wire.codec import encode
from storage.errors import LockTimeout, OutcomeUnknown, StorageError, Unavailable

log = logging.getLogger(__name__)


def refusal_of(error: Exception, what: str, *, safe: bool) -> Refusal:
    """Give the refusal of an error.

    Args:
        what: what failed, for the log.
        safe: whether it changes nothing, so that a surprise leaves nothing unknown.
    """
    match error:
        case Refusal():
            return error
        case Unavailable() | LockTimeout():
            return Refusal("unavailable")
        case TimeoutError() if safe:
            return Refusal("unavailable")
        case OutcomeUnknown() | TimeoutError():
            return Refusal("outcome_unknown")
        case web.HTTPRequestEntityTooLarge():
            return Refusal("body_too_large")
        case web.HTTPNotFound() | web.HTTPMethodNotAllowed():
            return Refusal("not_found", "There is no such call.")
        case web.HTTPException() if error.status < 500:
            return Refusal("malformed_body", error.reason)
    log.error("%s failed", what, exc_info=error)
    kind = "unavailable" if safe or isinstance(error, StorageError) else "outcome_unknown"
    return Refusal(kind)


def language_of(request: web.Request) -> str:
    """Give the language that the client prefers."""
    return request.headers.get(hdrs.ACCEPT_LANGUAGE, "").strip()[:2].lower()


def respond(request: web.Request, refusal: Refusal, request_id: str) -> web.Response:
    """Give the problem document of a refusal, in Japanese where the client prefers it."""
    headers = CIMultiDict({hdrs.CONTENT_TYPE: "application/problem+json"})
    if refusal.status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    members = problem(refusal, request_id, language_of(request))
    if "retry_after_ms" in members:
        headers[hdrs.RETRY_AFTER] = str(ceil(members["retry_after_ms"] / 1000))
    response = web.Response(body=encode(members), status=refusal.status, headers=headers)
    if request.content.exception() is not None:  # nobody knows where the next request would begin
        response.force_close()
    return response
