"""For each call of the table an example that is right, from which the bad ones are made."""

from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from server.routes import API
from server.routes.door import Route
from server.wire import requests as q
from storage.records import Role

BEYOND = 2**63
NOBODY = 2**63 - 1
"""An id that exists nowhere."""

BODIES: dict[type[Struct], dict[str, Any]] = {
    q.Register: {"email": "new@example.com", "password": "long enough", "display_name": "花子"},
    q.LogIn: {"email": "new@example.com", "password": "long enough", "cookie": False},
    q.EditMe: {"display_name": "花子"},
    q.ChangePassword: {"current_password": "correct horse", "new_password": "battery staple"},
    q.NewPersona: {
        "name": "結衣", "staff_account_id": 1, "avatar_url": "/a.png", "bio": "はじめまして", "guide": "やさしく",
        "attributes": {"age": 24}, "is_active": True, "message_cost": 1,
    },
    q.EditPersona: {
        "name": "結衣", "staff_account_id": 1, "avatar_url": "/a.png", "bio": "はじめまして", "guide": "やさしく",
        "attributes": {"age": 24}, "is_active": True, "message_cost": 1,
    },
    q.OpenSession: {"persona_id": 1},
    q.KnownRevisions: {"known": {"7": 90}},
    q.SetRead: {"message_id": 1},
    q.SetWaiting: {"waiting": False},
    q.SendMessage: {
        "session_id": 1, "content": "こんにちは", "expected_cost": 1, "seen_message_id": 1, "template_id": 1,
    },
    q.GrantCredits: {"account_id": 1, "amount": 1, "note": "お礼", "kind": "grant", "reference": "r-1"},
    q.Refund: {"note": "お詫び"},
    q.NewTemplate: {"title": "挨拶", "body": "こんにちは", "shortcut": "hi", "persona_id": 1, "shared": False},
    q.EditTemplate: {"title": "挨拶", "body": "こんにちは", "shortcut": "hi"},
    q.RenderTemplate: {"session_id": 1, "answers": {"hotel": "海の宿"}},
    q.NewAccount: {"email": "s@example.com", "password": "long enough", "display_name": "花子", "role": "staff"},
    q.EditAccount: {"display_name": "花子", "role": "staff", "status": "active"},
}  # fmt: skip
QUERIES: dict[type[Struct], dict[str, str]] = {
    q.Paging: {"limit": "50"},
    q.InboxQuery: {"limit": "50", "status": "active", "persona_id": "1", "waiting": "true", "sort": "waiting"},
    q.Poll: {"session_id": "1", "last_message_id": "0"},
    q.HistoryQuery: {"session_id": "1", "before_id": "7", "limit": "50"},
    q.OfAccount: {"account_id": "1"},
    q.EntriesQuery: {"account_id": "1", "limit": "50"},
    q.AccountsQuery: {"q": "花", "role": "user", "status": "active", "limit": "50"},
    q.AuditQuery: {
        "actor_id": "1", "subject_type": "account", "subject_id": "1", "action": "account.role",
        "since": "2026-01-01T00:00:00Z", "limit": "50",
    },
}  # fmt: skip

WITH_BODY = [route for route in API if route.body is not None]
WITH_QUERY = [route for route in API if route.query is not None]
WITH_LOGIN = [route for route in API if route.roles is not None]
WITH_ID = [route for route in API if "{id}" in route.path]
WITH_CURSOR = [route for route in WITH_QUERY if route.query is not None and issubclass(route.query, q.Paging)]


def name(route: Route) -> str:
    """Name a route in a test's title."""
    return f"{route.method} {route.path}"


def path(route: Route, id_: int | str = 1, query: dict[str, str] | None = None) -> str:
    """Give a path that can be called."""
    given = QUERIES.get(route.query, {}) if route.query is not None and query is None else query
    return route.path.replace("{id}", str(id_)) + (f"?{urlencode(given)}" if given else "")


def body(route: Route) -> dict[str, Any] | None:
    """Give a body that can be used."""
    return None if route.body is None else dict(BODIES[route.body])


def role(route: Route) -> Role:
    """Give a role that may call."""
    return "user" if route.roles is None or "user" in route.roles else min(route.roles)
