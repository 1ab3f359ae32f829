"""People who poll: a user their one chat, staff the list of what changed and then those chats."""

import asyncio

import aiohttp
import msgspec
from msgspec import Struct

from tests.load.doors import PAUSE_FIRST_SECONDS, PAUSE_MOST_SECONDS, Person

# What one call of the desk asks to be held for; it keeps all its chats current.
DESK_HOLD_SECONDS = 5


class _Session(Struct, frozen=True):
    id: int
    revision: int
    last_message_id: int | None


class _Changes(Struct, frozen=True):
    items: list[_Session]


class PollingUser(Person):
    """A user who polls as the server paces them."""

    async def listen(self) -> None:
        """Poll for ever."""
        while True:
            for session_id in self.views:
                pause = await self.poll(session_id, self.plan.hold)
            await asyncio.sleep(pause)


class PollingDesk(Person):
    """A staff member who asks which chats changed, and polls those."""

    async def listen(self) -> None:
        """Ask for ever."""
        known: dict[str, int] = {}
        while True:
            try:
                answer = await self.call(
                    "POST", "/sessions/changes", {"known": known}, Prefer=f"wait={DESK_HOLD_SECONDS}"
                )
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(PAUSE_MOST_SECONDS)
                continue
            if answer.status != 200:
                await asyncio.sleep(max(PAUSE_FIRST_SECONDS, self._later(answer)))
                continue
            self.ledger.counts["changes"] += 1
            changed = msgspec.json.decode(answer.body, type=_Changes).items
            await asyncio.gather(*(self._fetch(session) for session in changed))
            known |= {str(session.id): session.revision for session in changed if self._has(session)}

    def _has(self, session: _Session) -> bool:
        return self.views[session.id].position >= (session.last_message_id or 0)

    async def _fetch(self, session: _Session) -> None:
        if not self._has(session):
            await self.poll(session.id)
