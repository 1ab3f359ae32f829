"""Who asks too often.

Sends and polls are counted in the process, for no hot path may wait for Redis. Tries to log in and registrations are
counted in Redis for all replicas, within 100 ms, and in the process while Redis is away.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.errors import Refusal
from server.settings import Settings

# A question to Redis while somebody waits for a login; a healthy Redis answers in a millisecond.
ASK_SECONDS = 0.1
# After a failure Redis is not asked for this long: a frozen one must not cost every login 100 ms.
BREAKER_SECONDS = 5.0
# Commands of one connection. A client that sends, reads and types as people do says a few a second; a burst of sends is
# bounded by its own limit.
COMMANDS_PER_SECOND, COMMANDS_BURST = 50.0, 1_000
# Forgotten buckets are full ones; this many fit in a few MiB.
BUCKETS_MOST = 20_000


class Buckets:
    """Token buckets by key: `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[object, tuple[float, float]] = {}

    def take(self, key: object) -> float:
        """Take a token: 0 when there was one, else the seconds until there is."""
        now = self._clock()
        tokens, at = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            return (1 - tokens) / self._per_second
        self._buckets[key] = (tokens - 1, now)
        if len(self._buckets) > BUCKETS_MOST:
            self._forget_full(now)
        return 0.0

    def fullness(self, key: object) -> float:
        """How full a bucket is, from 0 to 1."""
        tokens, at = self._buckets.get(key, (self._burst, 0.0))
        return min(1.0, (tokens + (self._clock() - at) * self._per_second) / self._burst)

    def _forget_full(self, now: float) -> None:
        full_after = self._burst / self._per_second
        self._buckets = {key: (n, at) for key, (n, at) in self._buckets.items() if now - at < full_after}


class Window:
    """At most `most` in `seconds` for a key, counted in Redis for all replicas, or here while Redis is away."""

    def __init__(self, name: str, most: int, seconds: int) -> None:
        self.name = name
        self.most = most
        self.seconds = seconds
        self.here = Buckets(most / seconds, most)


class Limits:
    """The limits of one replica.

    Raises (every `check_…` and `take_…`):
        Refusal: `rate_limited`, with `retry_after_ms`.
    """

    def __init__(self, settings: Settings) -> None:
        self.off = settings.limits == "off"
        self._sends = Buckets(settings.sends_per_second, settings.sends_burst)
        self._polls = Buckets(settings.polls_per_second, settings.polls_burst)
        self._commands = Buckets(COMMANDS_PER_SECOND, COMMANDS_BURST)
        self._logins = Window("login", settings.logins_per_minute, 60)
        self._registers = Window("register", settings.registers_per_hour, 3600)
        self._redis = redis.from_url(
            settings.redis_url,
            socket_timeout=ASK_SECONDS,
            socket_connect_timeout=ASK_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._broken_until = 0.0

    async def close(self) -> None:
        """Part from Redis; bounded."""
        try:
            await asyncio.wait_for(self._redis.aclose(), 1)
        except (RedisError, OSError):
            pass

    def take_send(self, account_id: int) -> None:
        """Count one send of an account, over both doors."""
        if not self.off:
            _refuse_after(self._sends.take(account_id))

    def take_poll(self, account_id: int) -> None:
        """Count one poll of an account."""
        if not self.off:
            _refuse_after(self._polls.take(account_id))

    def take_command(self, connection_id: str) -> bool:
        """Count one command of a connection; False when it floods."""
        return self.off or self._commands.take(connection_id) == 0

    def poll_fullness(self, account_id: int) -> float:
        """How much of its polls an account has left, from 0 to 1: the emptier, the slower its clients are paced."""
        return 1.0 if self.off else self._polls.fullness(account_id)

    async def take_login(self, address: str, email: str) -> None:
        """Count a try to log in, for the client's address together with the email."""
        await self._take(self._logins, f"{address} {email.lower()}")

    async def take_register(self, address: str) -> None:
        """Count a registration from an address: it tells whether an email is known, so it is tightly limited."""
        await self._take(self._registers, address)

    async def _take(self, window: Window, who: str) -> None:
        if self.off:
            return
        # Hashed, so that neither addresses nor emails stand in Redis.
        key = hashlib.sha256(f"{window.name} {who}".encode()).hexdigest()[:32]
        wait = await self._count(window, f"limit:{key}")
        _refuse_after(window.here.take(key) if wait is None else wait)

    async def _count(self, window: Window, key: str) -> float | None:
        """Count in Redis: seconds to wait, 0 for none; None while Redis does not answer."""
        if time.monotonic() < self._broken_until:
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                pipe = self._redis.pipeline(transaction=True)
                pipe.incr(key)
                pipe.expire(key, window.seconds, nx=True)
                pipe.pttl(key)
                count, _, left_ms = await pipe.execute()
        except (RedisError, OSError):
            self._broken_until = time.monotonic() + BREAKER_SECONDS
            return None
        return max(left_ms, 0) / 1000 if count > window.most else 0.0


def _refuse_after(seconds: float) -> None:
    if seconds > 0:
        raise Refusal("rate_limited", retry_after_ms=max(1, int(seconds * 1000)))
