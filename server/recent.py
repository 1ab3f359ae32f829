"""What this replica heard and said a moment ago, so that it does not say it twice."""

from dataclasses import dataclass
from time import monotonic

# How an encoded `message` event begins: its id can be read without decoding, on the way of every push.
MESSAGE = b'{"type":"message","message":{"id":'
# Accounts whose coming and going is remembered: some 200 bytes each.
TOLD_MOST = 20_000


class Seen:
    """The ids of the messages that the sockets of this replica heard lately."""

    def __init__(self) -> None:
        self._heard_at: dict[int, float] = {}

    @property
    def ids(self) -> list[int]:
        """The ids."""
        return list(self._heard_at)

    def note(self, payload: bytes) -> None:
        """Note an event if it is a message."""
        if payload.startswith(MESSAGE):
            end = payload.index(b",", len(MESSAGE))
            self._heard_at[int(payload[len(MESSAGE) : end])] = monotonic()

    def forget_older_than(self, moment: float) -> None:
        """Forget what was heard before a moment of the monotonic clock."""
        self._heard_at = {id_: at for id_, at in self._heard_at.items() if at >= moment}


@dataclass(slots=True)
class Told:
    """What was last said of an account's presence."""

    online: bool
    at: float
    looks_again: bool = False


class Tellings:
    """What was last said of each account's presence."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}

    def get(self, account_id: int) -> Told | None:
        """Give what was last said of an account."""
        return self._told.get(account_id)

    def note(self, account_id: int, told: Told) -> None:
        """Note what is being said; the oldest is forgotten when there is too much."""
        self._told.pop(account_id, None)
        self._told[account_id] = told
        if len(self._told) > TOLD_MOST:
            del self._told[next(iter(self._told))]
