"""The door that every call comes through: who is it, may that role, which types are the bytes.

A `Route` says all that there is to know about a path; the OpenAPI document is made of the same words.
"""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import CIMultiDict, istr

from server.actions import presence, waiting
from server.actions.logins import slide
from server.auth import Caller, hash_token
from server.context import Context
from server.errors import Refusal
from server.wire.codec import BodyCodec, QueryCodec, encode
from storage.errors import wrote
from storage.records import Role

CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)

ALL: frozenset[Role] = frozenset(("user", "staff", "admin"))
USER: frozenset[Role] = frozenset(("user",))
STAFF: frozenset[Role] = frozenset(("staff",))
ADMIN: frozenset[Role] = frozenset(("admin",))

# Cookies know no ports: users' and staff's have names of their own, and each entry reads only its own.
USER_COOKIE = "concierge_login"
STAFF_COOKIE = "concierge_staff"
SAFE_METHODS = ("GET", "HEAD")
# A call of several questions to a PostgreSQL that hangs is answered within 5 s as well.
ANSWER_SECONDS = 4.5

JSON = "application/json"
PREFER = istr("Prefer")
# (Names of preferences know no case, values may be quoted.)
_WAIT = re.compile(r'(?:^|[,;\s])wait\s*=\s*(\d{1,9}|"\d{1,9}")(?:$|[,;\s])', re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Visitor:
    """By which entry a request came, from which site, from whose address. Only a node's word counts."""

    entry: str | None
    site: str
    address: str


@dataclass(slots=True)
class Call:
    """One request with its types: what a handler gets."""

    request: web.Request
    context: Context
    _caller: Caller | None
    body: Any = None
    query: Any = None

    @property
    def caller(self) -> Caller:
        """Who calls; only routes with roles may ask."""
        assert self._caller is not None
        return self._caller

    @property
    def visitor(self) -> Visitor:
        """Where the request came from."""
        return visitor(self.request, self.context)

    def id(self, name: str = "id") -> int:
        """Give an id of the path; one that cannot exist is not found."""
        text = self.request.match_info[name]
        # (`\d` of the path's pattern takes the digits of every script.)
        if not text.isascii() or not 0 < (value := int(text)) < 2**63:
            raise Refusal("not_found")
        return value

    @property
    def patience(self) -> waiting.Patience:
        """How long the client would wait for news (`Prefer: wait=…`, RFC 7240)."""
        if PREFER not in self.request.headers:
            return waiting.NONE
        found = _WAIT.search(",".join(self.request.headers.getall(PREFER)))
        return waiting.Patience(int(found.group(1).strip('"')), self._is_gone) if found else waiting.NONE

    def _is_gone(self) -> bool:
        return self.request.transport is None or self.request.transport.is_closing()


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """Everything there is to know about a call."""

    method: str
    path: str
    handler: Handler
    says: str
    roles: frozenset[Role] | None = ALL
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    answer: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    bounded: bool = True
    """Whether the call's time is bounded here: the hot paths are by their flights, a held call by its wait."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that the call understands, with their meaning."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """Response headers that the call gives, with their meaning."""


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Give a JSON answer; `body` is a Struct, or bytes that are JSON already."""
    raw = body if isinstance(body, bytes) else encode(body)
    all_headers = CIMultiDict({hdrs.CONTENT_TYPE: JSON})
    if headers:
        all_headers.update(headers)
    return web.Response(body=raw, status=status, headers=all_headers)


def no_content() -> web.Response:
    """Give an answer that has nothing to say."""
    return web.Response(status=204)


def handle(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make aiohttp's handler of a route."""
    decode = BodyCodec(route.body) if route.body else None
    read_query = QueryCodec(route.query) if route.query else None
    unsafe = route.method not in SAFE_METHODS

    async def handler(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        caller = None
        if route.roles is not None:
            caller = await authenticate(request, context)
            if caller.role not in route.roles:
                raise Refusal("forbidden")
        call = Call(request, context, caller)
        if unsafe:
            wrote.set(False)  # requests of one connection share a context
        if read_query is not None:
            call.query = read_query(request.rel_url)
        if decode is not None:
            call.body = decode(await _read(request))
        if not route.bounded:
            return await route.handler(call)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await route.handler(call)

    return handler


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except (web.RequestPayloadError, ConnectionError):  # it cannot be unpacked, or its sender hung up half-way
        raise Refusal("malformed_body", "The body is not what its Content-Encoding or its length says.") from None


def visitor(request: web.Request, context: Context) -> Visitor:
    """Say where a request came from. Without the nodes' secret no forwarding header is believed."""
    secret = context.settings.node_secret
    headers = request.headers
    if secret and hmac.compare_digest(headers.get("X-Node-Secret", "").encode("utf-8", "replace"), secret.encode()):
        entry = headers.get("X-Entry")
        return Visitor(
            entry if entry in ("user", "staff") else None,
            headers.get("X-Site", "")[:100],
            headers.get("X-Forwarded-For", "")[:100],
        )
    return Visitor(None, "", request.remote or "")


def _token(request: web.Request, context: Context) -> str:
    """Give the request's token: the header's, else the cookie's if the request's origin may use it."""
    authorization = request.headers.get(hdrs.AUTHORIZATION)
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal("unauthenticated", "The Authorization header must be `Bearer TOKEN`.")
        return token.strip()
    token = _cookie(request, context)
    if not token:
        raise Refusal("unauthenticated")
    upgrades = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    if request.method not in SAFE_METHODS or upgrades:
        check_origin(request, context)
    return token


def _cookie(request: web.Request, context: Context) -> str:
    raw = request.headers.get(hdrs.COOKIE)
    if not raw:
        return ""
    try:
        cookies = SimpleCookie(raw)
    except CookieError:
        return ""
    entry = visitor(request, context).entry
    names = {"user": (USER_COOKIE,), "staff": (STAFF_COOKIE,)}.get(entry or "", (USER_COOKIE, STAFF_COOKIE))
    return next((cookies[name].value for name in names if name in cookies), "")


def check_origin(request: web.Request, context: Context) -> None:
    """Refuse a request that a foreign page may have made with somebody's cookie."""
    if request.headers.get(hdrs.ORIGIN, "") not in context.settings.origins:
        raise Refusal("origin_refused")


def check_handshake_origin(request: web.Request, context: Context) -> None:
    """Refuse a websocket that a foreign page opens. With a token, a page of the same host is no stranger."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.partition("://")[2] != request.host:
        check_origin(request, context)


async def authenticate(request: web.Request, context: Context) -> Caller:
    """Say who calls.

    Raises:
        Refusal: nobody does, or not any more, or by the wrong entry.
    """
    token_hash = hash_token(_token(request, context))
    caller = context.tokens.remembered(token_hash)
    if caller is None:
        caller = await _ask_the_book(context, token_hash)
    if context.settings.staff_entry == "required":
        entry = visitor(request, context).entry
        if (entry == "staff") == caller.is_user:
            raise Refusal("wrong_entry")
    return caller


async def _ask_the_book(context: Context, token_hash: bytes) -> Caller:
    """Check a token, and note what is due only every few seconds: that its account is here, and its login in use."""
    caller, login = await context.tokens.check(context.book.checks, token_hash)
    slide(context, login)
    presence.touch(context, caller)
    return caller


def login_roles(context: Context, entry: str | None) -> frozenset[Role]:
    """Say who may log in by this entry."""
    if context.settings.staff_entry == "off":
        return ALL
    return STAFF | ADMIN if entry == "staff" else USER


def cookie_name(role: Role) -> str:
    """Name the cookie of a role."""
    return USER_COOKIE if role == "user" else STAFF_COOKIE
