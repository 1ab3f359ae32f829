"""The OpenAPI 3.1 document, made of the table of routes and the Structs; and the page that shows it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_args

import msgspec
from aiohttp import web

from server import VERSION
from server.docs import page
from server.errors import CODES
from server.routes.door import STAFF_COOKIE, USER_COOKIE, Route
from server.wire import frames
from server.wire.codec import encode

BASE = "/api/v1"
REF = "#/components/schemas/{name}"
# Nothing but what the page itself carries, and its own inline style.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'"

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457); it carries what its reader needs next.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Where the code is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(CODES)},
        "retryable": {"type": "boolean", "description": "Whether the same call may succeed later, unchanged."},
        "request_id": {"type": "string"},
        "retry_after_ms": {"type": "integer"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "idempotency_key": {"type": "string", "description": "With `outcome_unknown`: the key that settles it."},
        "credit_balance": {"type": "integer"},
        "message_cost": {"type": "integer"},
        "messages": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}},
        "placeholders": {"type": "array", "items": {"type": "string"}},
    },
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Give the OpenAPI document of a table of routes."""
    kinds = [kind for route in routes for kind in (route.body, route.query, route.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components([*kinds, frames.AnyCommand, frames.AnyEvent], ref_template=REF)
    schema_of = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=False)}
    components["Problem"] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Concierge",
            "version": VERSION,
            "summary": "Users pay credits, message by message, to talk with personas that staff answer as.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "x-frames": {"commands": _names(frames.AnyCommand), "events": _names(frames.AnyEvent)},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "user_cookie": {"type": "apiKey", "in": "cookie", "name": USER_COOKIE},
                "staff_cookie": {"type": "apiKey", "in": "cookie", "name": STAFF_COOKIE},
            },
        },
    }


def _names(union: Any) -> list[str]:
    return [kind.__name__ for kind in get_args(union)]


def _operation(route: Route, schema_of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rsplit('.', 1)[-1]}_{route.handler.__name__.rstrip('_')}",
        "summary": route.says,
        "tags": [route.path.split("/")[1]],
        "parameters": _parameters(route, schema_of, components),
        "responses": _responses(route, schema_of),
        "security": [] if route.roles is None else [{"bearer": []}, {"user_cookie": []}, {"staff_cookie": []}],
    }
    if route.roles is not None:
        operation["x-roles"] = sorted(route.roles)
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[id(route.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route, schema_of: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in route.path:
        found.append({"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}})
    if route.query is not None:
        schema = components[schema_of[id(route.query)]["$ref"].rsplit("/", 1)[-1]]
        for name, kind in schema["properties"].items():
            required = name in schema.get("required", ())
            found.append({"name": name, "in": "query", "required": required, "schema": kind})
    for name, meaning in route.headers.items():
        found.append({"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}})
    return found


def refusals(route: Route) -> dict[int, list[str]]:
    """Give the codes that a call may be refused with, by HTTP status."""
    codes = {*route.codes, "unavailable", "draining"}
    if route.roles is not None:
        codes |= {"unauthenticated", "login_expired", "suspended", "wrong_entry", "origin_refused"}
        codes |= {"forbidden"} if len(route.roles) < 3 else set()
    if route.body is not None:
        codes |= {"malformed_body", "body_too_large", "validation_failed"}
    if route.query is not None or route.headers:
        codes.add("validation_failed")
    if "{id}" in route.path:
        codes.add("not_found")
    if route.method not in ("GET", "HEAD"):
        codes.add("outcome_unknown")
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    return dict(sorted(by_status.items()))


def _responses(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in sorted({route.status, *route.also}):
        response: dict[str, Any] = {"description": "Done."}
        if route.answer is not None:
            response["content"] = {"application/json": {"schema": schema_of[id(route.answer)]}}
        if route.replies:
            response["headers"] = {
                name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in route.replies.items()
            }
        found[str(status)] = response
    for status, codes in refusals(route).items():
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[str(status)] = {"description": ", ".join(f"`{code}`" for code in codes), "content": content}
    return found


def add(app: web.Application, routes: Sequence[Route]) -> None:
    """Add the document and its page, beneath the base and, for links, above it. Each is made when first asked for."""

    @lru_cache(1)
    def raw() -> bytes:
        return encode(document(routes))

    @lru_cache(2)
    def html(language: str) -> str:
        return page(document(routes), language)

    async def openapi(request: web.Request) -> web.Response:
        return web.Response(body=raw(), content_type="application/json")

    async def docs(request: web.Request) -> web.Response:
        asked = request.query.get("lang") or request.headers.get("Accept-Language") or ""
        language = "ja" if asked.strip().lower().startswith("ja") else "en"
        headers = {"Content-Security-Policy": POLICY, "Vary": "Accept-Language"}
        return web.Response(text=html(language), content_type="text/html", headers=headers)

    for base in ("", BASE):
        app.router.add_get(f"{base}/openapi.json", openapi)
        app.router.add_get(f"{base}/docs", docs)
