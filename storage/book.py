"""The book: a Database together with its three batchers, as one replica holds it."""

from storage import accounts, logins, messages, personas, sends, sessions
from storage.batch import Batcher
from storage.database import Database, Lane
from storage.records import Login, Page

FUNCTIONS = accounts.FUNCTIONS + personas.FUNCTIONS + sessions.FUNCTIONS

# Every question of a flight is a few index probes. A plan made while the tables were small must not outlive that.
PROBES_ONLY = "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;"

# Those who wait for a lock are tried in turn: with 32 of them, a flight's, each has its turn every 0.6 s, and one that
# finds its rows free waits no longer than that for the others.
IN_TURN = "set lock_timeout = '20ms';"


class Book(Database):
    """PostgreSQL as the rules see it.

    Two flights of sends are in the air at a time, each on a connection of its own: while one waits for the WAL the
    other gathers. Polls fly one flight at a time, for a second one only made both smaller (6.7 against 8.6 k/s).
    Sends that wait for a row that somebody holds have a lane apart.
    """

    def __init__(self, url: str, *, pool_size: int = 8, name: str = "concierge") -> None:
        super().__init__(url, FUNCTIONS, pool_size=pool_size, name=name)
        send = PROBES_ONLY + sends.FUNCTION
        self.sends: Batcher[sends.Send, sends.Sent] = Batcher(
            sends.SendFlight(), self._lanes(2, send), seats=sends.SEATS, side=self._lanes(1, IN_TURN + send)[0]
        )
        self.polls: Batcher[messages.Position, Page] = Batcher(
            messages.PollFlight(), self._lanes(1, PROBES_ONLY), seats=messages.POLL_SEATS
        )
        self.checks: Batcher[bytes, Login] = Batcher(
            logins.LoginFlight(), self._lanes(1, PROBES_ONLY), seats=logins.SEATS
        )

    def _lanes(self, count: int, setup: str) -> list[Lane]:
        return [Lane(self.url, setup, self.name, self.counters) for _ in range(count)]

    async def close(self) -> None:
        """Let what flies land, then part from PostgreSQL."""
        for batcher in (self.sends, self.polls, self.checks):
            await batcher.close()
        await super().close()
