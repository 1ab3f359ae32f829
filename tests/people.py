"""People to test with, made quickly: accounts with tokens, personas and sessions, straight in the book."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from server.auth import HASHER, hash_token, new_token
from server.errors import CODES
from storage import accounts, logins, personas, sessions
from storage.book import Book
from storage.records import Role

PASSWORD = "correct horse"
HASHED = HASHER.hash(PASSWORD)
_numbers = itertools.count(1)
# What every problem document has.
PROBLEM = {"type", "title", "status", "detail", "code", "retryable", "request_id"}
# What is not beneath /api/v1.
OUTSIDE = ("/healthz", "/readyz", "/metrics")


@dataclass
class Answer:
    """What a call gave."""

    status: int
    json: Any
    headers: Any
    raw: bytes

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def fields(self) -> list[str]:
        return [error["field"] for error in self.json["errors"]]

    @property
    def items(self) -> list[Any]:
        return list(self.json["items"])

    def refused(self, status: int, code: str, *fields: str) -> "Answer":
        """Check that this is a whole problem document with that code, naming exactly these fields (if any given)."""
        told = self.json["code"] if isinstance(self.json, dict) and "code" in self.json else None
        assert (self.status, told) == (status, code), (self.status, self.raw[:500])
        assert self.headers["Content-Type"] == "application/problem+json"
        assert set(self.json) >= PROBLEM, f"{PROBLEM - set(self.json)} is missing"
        assert (self.json["status"], self.json["retryable"]) == (status, CODES[code].retryable)
        assert self.json["type"].endswith(code) and self.json["title"] and self.json["detail"]
        assert self.json["request_id"] == self.headers["X-Request-Id"]
        if CODES[code].retryable:
            assert 0 < self.json["retry_after_ms"] <= 1000 * int(self.headers["Retry-After"])
        if status == 422:
            assert self.json["errors"] and all(error["message"] for error in self.json["errors"])
        if fields:
            assert sorted(self.fields) == sorted(fields)
        return self

    def done(self, status: int = 200) -> Any:
        """Check the status and give the JSON."""
        assert self.status == status, (self.status, self.raw[:500])
        return self.json


@dataclass
class Client:
    """Calls a replica as somebody."""

    http: aiohttp.ClientSession
    url: str
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        all_headers = {**self.headers, **{name.replace("_", "-"): value for name, value in (headers or {}).items()}}
        if self.token:
            all_headers.setdefault("Authorization", f"Bearer {self.token}")
        where = self.url + (path if path in OUTSIDE else "/api/v1" + path)
        kwargs: dict[str, Any] = {"data": raw} if raw is not None else ({} if body is None else {"json": body})
        async with self.http.request(method, where, headers=all_headers, **kwargs) as response:
            content = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            parsed = await response.json(content_type=None) if is_json and content else None
            return Answer(response.status, parsed, response.headers, content)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.call("POST", path, {} if body is None else body, headers=headers)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: Any) -> Answer:
        return await self.call("PATCH", path, body)

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)

    async def poll(self, session_id: int, last_message_id: int, **headers: str) -> Answer:
        return await self.get(f"/messages/poll?session_id={session_id}&last_message_id={last_message_id}", **headers)

    async def send(self, session_id: int, content: str, key: str | None = None, **more: Any) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.post("/messages", {"session_id": session_id, "content": content, **more}, **headers)


@dataclass
class Person:
    """An account with a token; `via(replica)` calls as it."""

    id: int
    email: str
    token: str
    role: Role
    http: aiohttp.ClientSession

    def via(self, replica: Any) -> Client:
        return Client(self.http, replica if isinstance(replica, str) else replica.url, self.token)


@dataclass
class People:
    """Makes people."""

    book: Book
    http: aiohttp.ClientSession

    async def make(self, role: Role, credits: int = 0, name: str = "") -> Person:
        email = f"{role}-{next(_numbers)}-{secrets.token_hex(4)}@example.com"
        account = await accounts.create(self.book, email, name or f"{role} 太郎", HASHED, role, credits, "opening")
        token = new_token()
        await logins.create(self.book, hash_token(token), account.id, "", datetime.now(UTC) + timedelta(hours=6))
        return Person(account.id, email, token, role, self.http)

    async def user(self, credits: int = 100) -> Person:
        return await self.make("user", credits)

    async def staff(self) -> Person:
        return await self.make("staff")

    async def admin(self) -> Person:
        return await self.make("admin")

    async def persona(self, staff: Person, cost: int = 1, **more: Any) -> int:
        fields = {
            "name": "結衣", "avatar_url": "", "bio": "", "attributes": {}, "guide": "内緒", "is_active": True,
            "message_cost": cost, **more,
        }  # fmt: skip
        made = await personas.create(self.book, staff.id, fields)
        assert made is not None
        return made.id

    async def session(self, user: Person, persona_id: int) -> int:
        opened = await sessions.open_(self.book, user.id, persona_id)
        assert opened.session_id is not None
        return opened.session_id

    async def chat(self, credits: int = 100, cost: int = 1) -> tuple[Person, Person, int]:
        """Give a user, a staff member and their session."""
        user, staff = await self.user(credits), await self.staff()
        return user, staff, await self.session(user, await self.persona(staff, cost))


def lasting(value: Any) -> Any:
    """Give JSON without who is online, which comes and goes."""
    if isinstance(value, dict):
        return {name: lasting(item) for name, item in value.items() if name != "online"}
    return [lasting(item) for item in value] if isinstance(value, list) else value


async def balance(book: Book, account_id: int) -> tuple[int, int]:
    """Give an account's balance and the sum of its entries."""
    row = await book.fetchrow(
        """select a.credit_balance, coalesce((select sum(e.amount) from credit_entries e where e.account_id = a.id), 0)
        from accounts a where a.id = $1""",
        account_id,
    )
    assert row is not None
    return row[0], int(row[1])


async def timeline(book: Book, session_id: int) -> list[tuple[int, int, str]]:
    """Give (id, prev_id, content) of a session's messages, as the book has them."""
    sql = "select id, prev_id, content from messages where session_id = $1 order by id"
    return [tuple(row) for row in await book.fetch(sql, session_id)]
