"""Who is online: expiring entries in Redis.

A member (an account, for the caller) is online while it has a connection, for 30 s after the last one, and for 60 s
after a call. Each replica keeps its own members' entries fresh; nobody ever takes another's away, so a replica that
dies takes nobody offline who is elsewhere, and what it held expires by itself.

In Redis, all scores being the time (Unix seconds) until which an entry holds, and only ever rising (`ZADD GT`):
- `online`: sorted set of the members;
- `online:GROUP`: sorted set of `MEMBER|REPLICA|META`, for the groups that want to be listed.
Expired entries are removed by score: one atomic command, with no key to scan for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from time import monotonic, time
from typing import Any, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from channels.link import make_pool
from channels.registry import CALL_SECONDS, GRACE_SECONDS, REFRESH_SECONDS, Entry, Registry
from channels.tasks import end

log = logging.getLogger(__name__)

# A question is asked while somebody waits for a page; a healthy Redis answers in a millisecond.
ASK_SECONDS = 0.1
# A refresh has nobody waiting for it.
WRITE_SECONDS = 1.0
# One slow answer is a hiccup; after three in a row nobody is made to wait any more.
BREAK_AFTER = 3
# How often we look who is gone, and probe a Redis that is away; looking at 5,000 entries takes under a millisecond.
TICK_SECONDS = 1.0
# Arrivals of so long travel together: a thousand sockets that come back make a few writes.
COALESCE_SECONDS = 0.05
CHUNK = 500  # members in one command: some 20 KB
LIST_LIMIT = 10_000  # a listing is bounded, however large the group
CONNECTIONS = 8


class Present(NamedTuple):
    """One line of a listing: a member may have several, one for each replica and meta."""

    member: str
    replica: str
    meta: str
    until: float  # Unix seconds


class Presence:
    """The live registry as one replica sees it. Telling never waits; asking waits 0.1 s at most."""

    def __init__(self, url: str, replica: str, *, on_gone: Callable[[set[str]], Awaitable[None]] | None = None) -> None:
        """Prepare the registry; a bad URL raises ValueError.

        `on_gone` is awaited with the members who left this replica and, as far as Redis can say, are online nowhere
        else.
        """
        # No retries: they would multiply the bounds.
        pool = make_pool(BlockingConnectionPool, url, retry=Retry(NoBackoff(), 0))
        pool.max_connections = CONNECTIONS
        pool.timeout = ASK_SECONDS
        self._redis: Any = Redis.from_pool(pool)  # redis-py's own types do not tell its two worlds apart
        self._replica = replica
        self.on_gone = on_gone
        self._here = Registry()
        self._groups: set[str] = set()  # all that were ever here, for what has expired in them must go
        self._fresh: set[Entry] = set()  # not yet told to Redis
        self._stir = asyncio.Event()
        self._refresh_at = 0.0
        self._failures = 0  # in a row
        self._clock_ahead = 0.0  # seconds that Redis's clock is ahead of ours: the one clock of all replicas
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to keep the entries fresh; does not wait for Redis."""
        self._task = asyncio.create_task(self._run(), name="presence")

    async def stop(self) -> None:
        """Let go; what we hold expires by itself, for its members are about to come back through another replica."""
        await end(self._task)
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                await self._redis.aclose()

    # What happens here

    def arrive(self, member: str, group: str = "", meta: str = "") -> bool:
        """Count one connection of a member; True when the member was not online here before.

        `group` makes the member appear in `listing(group)`, with `meta` (a role and a site, say) as it is. Member and
        group have no `|`.
        """
        is_new = member not in self._here
        entry = Entry(member, group, meta)
        self._here.arrive(entry)
        self._tell(entry)
        return is_new

    def leave(self, member: str, group: str = "", meta: str = "") -> None:
        """Count one connection less, with the words of its `arrive`; after the last one the grace begins."""
        self._here.leave(Entry(member, group, meta))

    def touch(self, member: str, group: str = "", meta: str = "") -> bool:
        """Note a call, which makes its member online for 60 s; True when the member was not online here before.

        Cheap enough for every call: Redis is told every few seconds only.
        """
        is_new = member not in self._here
        entry = Entry(member, group, meta)
        if self._here.touch(entry):
            self._tell(entry)
        return is_new

    def is_here(self, member: str) -> bool:
        """Whether a member is online through this replica; asks nobody."""
        return member in self._here

    # What is asked

    async def online(self, members: Collection[str]) -> set[str]:
        """Which of these members are online anywhere; only what is known here when Redis does not answer in time."""
        here = {member for member in members if member in self._here}
        elsewhere = [member for member in members if member not in here]
        if not elsewhere:
            return here
        scores = await self._ask(lambda: self._redis.zmscore("online", elsewhere))
        now = self._now()
        return here | {member for member, until in zip(elsewhere, scores or (), strict=False) if until and until > now}

    async def is_elsewhere(self, member: str) -> bool:
        """Whether a member who has just come here is online through another replica already; no when Redis is away."""
        scores = await self._ask(lambda: self._redis.zmscore("online", [member]))
        return bool(scores and scores[0] and scores[0] > self._now())

    async def listing(self, group: str) -> list[Present]:
        """Everybody of a group who is online, at most 10,000; only who is here when Redis does not answer in time."""
        found = await self._ask(
            lambda: self._redis.zrange(
                f"online:{group}", self._now(), "+inf", byscore=True, offset=0, num=LIST_LIMIT, withscores=True
            )
        )
        if found is not None:
            return [_present(line, until) for line, until in found]
        here = [entry for entry in self._here if entry.group == group]
        return [Present(e.member, self._replica, e.meta, self._now() + self._here.remaining_seconds(e)) for e in here]

    async def count(self) -> int:
        """How many members are online anywhere; only who is here when Redis does not answer in time."""
        counted = await self._ask(lambda: self._redis.zcount("online", self._now(), "+inf"))
        return len(self._here) if counted is None else int(counted)

    @property
    def is_away(self) -> bool:
        """Whether questions are answered from what is known here, without asking Redis."""
        return self._failures >= BREAK_AFTER

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Ask within the bound, unless the breaker is open; None when there is no answer."""
        if self.is_away:
            return None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await question()
        except (RedisError, OSError, TimeoutError) as fault:
            self._failed(fault)
            return None
        self._failures = 0
        return answer

    def _failed(self, fault: Exception) -> None:
        self._failures += 1
        self._refresh_at = 0.0  # Redis may come back empty: tell it everything
        if self._failures == BREAK_AFTER:
            log.warning("presence goes on without Redis: %s", fault or repr(fault))

    # What is kept fresh

    def _tell(self, entry: Entry) -> None:
        self._fresh.add(entry)
        if entry.group:
            self._groups.add(entry.group)
        self._stir.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stir.wait()
                    await asyncio.sleep(COALESCE_SECONDS)
            self._stir.clear()
            try:
                gone = self._here.expire()
                await self._write()
                if gone and self.on_gone is not None and (left := gone - await self.online(gone)):
                    await self.on_gone(left)
            except Exception:  # one bad round must not end the registry
                log.exception("presence stumbled")

    async def _write(self) -> None:
        """Tell Redis what is new, and everything when that is due; also the probe while Redis is away."""
        fresh, self._fresh = self._fresh, set()
        is_whole = self.is_away or monotonic() >= self._refresh_at
        entries = list(self._here) if is_whole else list(fresh)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                if is_whole:
                    await self._sweep()
                for start in range(0, len(entries), CHUNK):
                    await self._write_chunk(entries[start : start + CHUNK])
        except (RedisError, OSError, TimeoutError) as fault:
            self._failed(fault)
            return
        if self.is_away:
            log.info("presence has Redis again")
        self._failures = 0
        if is_whole:
            self._refresh_at = monotonic() + REFRESH_SECONDS

    async def _sweep(self) -> None:
        """Remove what has expired, and learn what time it is for Redis."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for key in ("online", *(f"online:{group}" for group in self._groups)):
            pipe.zremrangebyscore(key, "-inf", self._now() - GRACE_SECONDS)
            pipe.expire(key, int(10 * CALL_SECONDS))  # a stack that is never started again leaves nothing
        asked_at = time()
        (seconds, microseconds), *_ = await pipe.execute()
        self._clock_ahead = seconds + microseconds / 1e6 - (asked_at + time()) / 2

    async def _write_chunk(self, entries: Iterable[Entry]) -> None:
        now = self._now()
        by_key: dict[str, dict[str, float]] = {"online": {}}
        for entry in entries:
            until = now + self._here.remaining_seconds(entry)
            members = by_key["online"]
            members[entry.member] = max(until, members.get(entry.member, 0.0))
            if entry.group:
                line = f"{entry.member}|{self._replica}|{entry.meta}"
                by_key.setdefault(f"online:{entry.group}", {})[line] = until
        pipe = self._redis.pipeline(transaction=False)
        for key, scores in by_key.items():
            pipe.zadd(key, scores, gt=True)
        await pipe.execute()

    def _now(self) -> float:
        return time() + self._clock_ahead


def _present(line: bytes, until: float) -> Present:
    member, replica, meta = line.decode().split("|", 2)
    return Present(member, replica, meta, until)
