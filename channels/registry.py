"""Who is online through this replica, and until when. No I/O: presence tells Redis what stands here."""

from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

GRACE_SECONDS = 30.0  # a reload, a tunnel or a lift does not make one offline
CALL_SECONDS = 60.0  # an idle client that only polls calls at least this often
# An entry in Redis holds for grace plus this, so that a connection's last refresh leaves between 30 and 35 s.
REFRESH_SECONDS = 5.0


class Entry(NamedTuple):
    """What a member's connection or call says of itself; equal ones are counted as one."""

    member: str
    group: str
    meta: str


class Registry:
    """The entries of one replica: with connections, or for a time."""

    def __init__(self) -> None:
        self._connections: dict[Entry, int] = {}
        self._until: dict[Entry, float] = {}  # monotonic; of entries without a connection: a grace, or a call's time
        self._entries: dict[str, set[Entry]] = {}  # by member: both of the above

    def arrive(self, entry: Entry) -> None:
        """Count one connection."""
        self._entries.setdefault(entry.member, set()).add(entry)
        self._until.pop(entry, None)
        self._connections[entry] = self._connections.get(entry, 0) + 1

    def leave(self, entry: Entry) -> None:
        """Count one connection less; after the last one the grace begins. One that never came is no error."""
        left = self._connections.get(entry, 0) - 1
        if left > 0:
            self._connections[entry] = left
        elif left == 0:
            del self._connections[entry]
            # As long as Redis may hold the entry at most, so that we do not take our own for somebody else's.
            self._until[entry] = monotonic() + GRACE_SECONDS + REFRESH_SECONDS

    def touch(self, entry: Entry) -> bool:
        """Note a call; True when Redis should be told, which is once in a refresh at most."""
        now = monotonic()
        if entry in self._connections or self._until.get(entry, 0.0) >= now + CALL_SECONDS:
            return False
        self._entries.setdefault(entry.member, set()).add(entry)
        self._until[entry] = now + CALL_SECONDS + REFRESH_SECONDS
        return True

    def expire(self) -> set[str]:
        """Forget entries whose time is over; answers the members of whom none is left."""
        now = monotonic()
        gone = set()
        for entry in [entry for entry, until in self._until.items() if until <= now]:
            del self._until[entry]
            entries = self._entries[entry.member]
            entries.remove(entry)
            if not entries:
                del self._entries[entry.member]
                gone.add(entry.member)
        return gone

    def remaining_seconds(self, entry: Entry) -> float:
        """How long an entry holds from now on, as Redis should have it; not above 0 when it is over."""
        if entry in self._connections:
            return GRACE_SECONDS + REFRESH_SECONDS
        return self._until.get(entry, 0.0) - monotonic()

    def __contains__(self, member: str) -> bool:
        """Whether a member is online here."""
        return member in self._entries

    def __len__(self) -> int:
        """How many members are online here."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """All entries."""
        yield from self._connections
        yield from self._until
