"""What keeps promises when bells are lost: each replica reads the book for those who are connected to it.

Whatever bell was lost (a publisher died, Redis forgot, a row was written by hand), its event is told again within 5 s,
and within 1 s while Redis is away. Messages are told whole; everything else by `heads`, `balance` and `gone`, from
which a client sees what it has to fetch. The sockets' logins are checked alike.
"""

import asyncio
import logging
from contextlib import suppress
from time import monotonic

from channels.tasks import end
from server.actions import announce
from server.actions.announce import topic
from server.actions.logins import check_sockets
from server.context import Context
from storage import credits, repair, sessions
from storage.errors import StorageError

log = logging.getLogger(__name__)

# A bell lost right after a round is repaired by the next, well within the 5 s.
ROUND_SECONDS = 3.0
# While Redis is away, these rounds are what brings the events of other replicas.
AWAY_SECONDS = 0.7
# A bell that is on its way is not lost: it takes milliseconds, or as long as a busy replica needs to come to it. With
# the round this stays below the promise.
QUIET_SECONDS, QUIET_AWAY_SECONDS = 1.0, 0.2
# A login that is revoked has its sockets closed within 5 s.
LOGINS_SECONDS = 3.0
# No transaction takes longer than `statement_timeout` (3 s) from drawing an id to its commit.
LATE_SECONDS = 4.0


class Sweep:
    """The rounds of one replica."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._floor: repair.Mark | None = None
        self._told_heads: dict[tuple[int, int], int] = {}
        self._told_balances: dict[int, int] = {}
        self._owned: set[tuple[int, int]] = set()
        self._turn = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin the rounds; from here on nothing is missed by those who connect."""
        with suppress(StorageError):  # nobody can connect while PostgreSQL is away
            await self.tell_again()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._repair_always(), name="sweep"),
            loop.create_task(self._check_logins_always(), name="sweep logins"),
        ]

    async def stop(self) -> None:
        """End them."""
        await end(*self._tasks)

    def hurry(self, _away: bool = False) -> None:
        """Begin the next round now: Redis has gone or come back."""
        self._hurry.set()

    async def _repair_always(self) -> None:
        while True:
            pause = AWAY_SECONDS if self._context.broker.is_away else ROUND_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            try:
                await self.tell_again()
            except StorageError as error:
                log.debug("a sweep could not read the book: %s", type(error).__name__)
            except Exception:  # one bad round must not end the promise
                log.exception("a sweep stumbled")

    async def tell_again(self) -> None:
        """Tell again what those who are connected here may have missed since before the last round.

        Raises:
            Unavailable: PostgreSQL is away; the next round looks back as far as this one would have.
        """
        async with self._turn:
            began = monotonic()
            mark = await repair.mark(self._context.book, LATE_SECONDS)
            connected = [int(name.partition(":")[2]) for name in self._context.broker.hub.topics()]
            if self._floor is not None and connected:
                await self._messages(connected, self._floor)
                await self._states(connected, self._floor)
            await self._gone(connected)
            self._floor = mark
            self._context.seen.forget_older_than(began - 2 * (LATE_SECONDS + ROUND_SECONDS))

    async def _messages(self, connected: list[int], floor: repair.Mark) -> None:
        seen = self._context.seen.ids
        quiet = QUIET_AWAY_SECONDS if self._context.broker.is_away else QUIET_SECONDS
        for found in await repair.fresh(self._context.book, floor.message_id, seen, connected, quiet):
            announce.again(self._context, found)

    async def _states(self, connected: list[int], floor: repair.Mark) -> None:
        """Tell how far sessions and balances are, where that changed since the last round."""
        changed = await self._changed_heads(connected, floor)
        found = await credits.balances(self._context.book, connected, floor.since, list(changed))
        balances = {balance.account_id: balance for balance in found}
        for account_id, heads in changed.items():
            self._deliver(account_id, announce.heads_event(heads, balances.get(account_id)))
        for account_id, balance in balances.items():
            if self._told_balances.get(account_id) != balance.credit_entry_id:
                event = announce.balance_event(balance.credit_balance, balance.credit_entry_id)
                self._deliver(account_id, event)
        self._told_balances = {id_: balance.credit_entry_id for id_, balance in balances.items()}

    async def _changed_heads(self, connected: list[int], floor: repair.Mark) -> dict[int, list[sessions.Head]]:
        changed: dict[int, list[sessions.Head]] = {}
        told: dict[tuple[int, int], int] = {}
        for head in await sessions.heads(self._context.book, connected, floor.since):
            key = (head.account_id, head.session_id)
            told[key] = head.revision
            if self._told_heads.get(key) != head.revision:
                changed.setdefault(head.account_id, []).append(head)
        self._told_heads = told
        return changed

    async def _gone(self, connected: list[int]) -> None:
        """Tell who lost a persona since the last round which sessions went with it."""
        owned = await repair.owned(self._context.book, connected) if connected else set()
        asked = set(connected)
        for account_id, persona_id in self._owned - owned:
            # (Who came back since was not asked for, and has lost nothing.)
            if account_id in asked and self._context.broker.hub.hears(topic(account_id)):
                lost = await repair.sessions_of(self._context.book, persona_id)
                self._deliver(account_id, announce.gone_event(lost))
        self._owned = owned

    def _deliver(self, account_id: int, event: bytes) -> None:
        """Tell the listeners of this replica alone: every other one sweeps for its own."""
        self._context.broker.hub.deliver((topic(account_id),), event)

    async def _check_logins_always(self) -> None:
        while True:
            await asyncio.sleep(LOGINS_SECONDS)
            try:
                await check_sockets(self._context)
            except StorageError:  # sockets stay while PostgreSQL is away
                pass
            except Exception:
                log.exception("the check of the sockets' logins stumbled")
