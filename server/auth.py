"""Who is calling: passwords, tokens, and what a token is worth right now.

A token is 256 random bits; the book holds its SHA-256 alone. A check is a batched read of the book, remembered for at
most 4 s from the read's start: so a revocation holds on every replica within 5 s, with or without Redis.
"""

import asyncio
import hashlib
import secrets
import time
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Struct

from server.errors import Refusal
from server.settings import Settings
from storage import logins
from storage.batch import Batcher
from storage.records import Login, Role

CACHE_SECONDS = 4.0
# Logins that are remembered: some 300 bytes each.
CACHE_MOST = 20_000
# A hash takes 19 MiB and a core for some 25 ms; more at once would take the core from the chats.
HASHES_AT_ONCE = 2
# OWASP's argon2id parameters for an interactive login: 19 MiB, 2 passes, 1 lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


class Caller(Struct, frozen=True):
    """Who is calling, as far as a rule needs to know."""

    account_id: int
    role: Role
    token_hash: bytes
    site: str
    expires_at: datetime

    @property
    def is_user(self) -> bool:
        """Whether the caller pays."""
        return self.role == "user"


class Passwords:
    """argon2id, in a thread, at most two at once."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(HASHES_AT_ONCE)
        # What an unknown email is checked against, so that it takes as long as a known one.
        self._nobody = HASHER.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """Give the hash to store."""
        async with self._turn:
            return await asyncio.to_thread(HASHER.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Say whether the password is right; for None (nobody) it takes the same time and is wrong."""
        async with self._turn:
            return await asyncio.to_thread(_verify, hashed or self._nobody, password) and hashed is not None


def _verify(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def new_token() -> str:
    """Make a token: 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Give what the book holds of a token. A random token needs no salt and no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Tokens:
    """What tokens are worth: a short-lived memory in front of the book."""

    def __init__(self, settings: Settings) -> None:
        self._cache: dict[bytes, tuple[Caller, float]] = {}
        self._user_days = timedelta(days=settings.user_login_days)
        self._staff_hours = timedelta(hours=settings.staff_login_hours)

    def lifetime(self, role: Role) -> timedelta:
        """How long an unused login of this role holds."""
        return self._user_days if role == "user" else self._staff_hours

    def remembered(self, token_hash: bytes) -> Caller | None:
        """Give the caller without asking the book, if it was asked lately."""
        entry = self._cache.get(token_hash)
        # (What expires in these seconds is found expired after them.)
        if entry is None or time.monotonic() - entry[1] > CACHE_SECONDS:
            return None
        return entry[0]

    async def check(self, checks: Batcher[bytes, Login], token_hash: bytes) -> tuple[Caller, Login]:
        """Ask the book what a token is worth.

        Raises:
            Refusal: `unauthenticated`, `login_expired` or `suspended`.
            Unavailable: PostgreSQL is away.
        """
        began = time.monotonic()
        try:
            login = await logins.verify(checks, token_hash)
        except logins.NoLogin:
            raise Refusal("unauthenticated") from None
        caller = worth(login)
        if len(self._cache) >= CACHE_MOST:
            self._cache = {key: seen for key, seen in self._cache.items() if began - seen[1] < CACHE_SECONDS}
        self._cache[token_hash] = (caller, began)
        return caller, login

    def forget(self, token_hash: bytes) -> None:
        """Forget a token that was revoked here."""
        self._cache.pop(token_hash, None)

    def forget_account(self, account_id: int) -> None:
        """Forget every token of an account that changed here."""
        for token_hash in [key for key, (seen, _) in self._cache.items() if seen.account_id == account_id]:
            del self._cache[token_hash]

    def slides_at(self, login: Login) -> bool:
        """Say whether a login in use is due to be extended: after a hundredth of its lifetime."""
        return datetime.now(UTC) - login.last_seen_at > self.lifetime(login.role) / 100


def worth(login: Login) -> Caller:
    """Give the caller of a login that holds right now.

    Raises:
        Refusal: `login_expired` or `suspended`.
    """
    if login.expires_at <= datetime.now(UTC):
        raise Refusal("login_expired")
    if login.status != "active":
        raise Refusal("suspended")
    return Caller(login.account_id, login.role, login.token_hash, login.site, login.expires_at)
