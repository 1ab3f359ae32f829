"""Every message accounted for: what was said, what was acknowledged, who saw it and in which order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from tests.load.plan import Side


@dataclass(slots=True)
class Said:
    """One send. Its content is its key, so that it is known again wherever it is seen."""

    key: str
    session_id: int
    side: Side
    due: float
    message_id: int = 0


class Row(Struct, frozen=True):
    """What is read of a message; the other fields are skipped."""

    id: int
    session_id: int
    content: str


@dataclass(slots=True)
class View:
    """What one side of one session has seen, in the order in which it would show it."""

    side: Side
    session_id: int
    rows: list[tuple[int, str]] = field(default_factory=list)

    @property
    def position(self) -> int:
        """The last message id that is held."""
        return self.rows[-1][0] if self.rows else 0


class Latencies:
    """Latencies of one kind, in seconds."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def figures(self) -> dict[str, float]:
        """Give the percentiles in milliseconds; nothing where nothing was measured."""
        if not self.values:
            return {}
        values = sorted(self.values)
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        found = {name: values[min(len(values) - 1, int(len(values) * share))] for name, share in shares.items()}
        return {name: round(value * 1000, 2) for name, value in {**found, "max": values[-1]}.items()}


@dataclass(slots=True)
class Ledger:
    """What happened in a run."""

    said: dict[str, Said] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    sends: Latencies = field(default_factory=Latencies)
    polls: Latencies = field(default_factory=Latencies)
    deliveries: Latencies = field(default_factory=Latencies)

    def saw(self, view: View, row: Row, now: float) -> None:
        """Append a message to a view; when the other side said it, it was delivered."""
        view.rows.append((row.id, row.content))
        said = self.said.get(row.content)
        if said is not None and said.side != view.side:
            self.deliveries.values.append(now - said.due)

    @property
    def acknowledged(self) -> list[Said]:
        """The sends whose success was told."""
        return [said for said in self.said.values() if said.message_id]


class Findings(Struct):
    """What is wrong; empty when every promise was kept."""

    lost: list[str] = []
    doubled: list[str] = []
    disordered: list[str] = []
    wrong_balance: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.disordered or self.wrong_balance)


def verify(said: Sequence[Said], book: Mapping[int, Sequence[Row]], views: Sequence[View]) -> Findings:
    """Hold what was said and what was seen against the book.

    Args:
        said: all sends, acknowledged or not.
        book: the messages of each session, in the book's order.
        views: what each side saw.
    """
    found = Findings()
    written = {session_id: {row.id: row.content for row in rows} for session_id, rows in book.items()}
    for one in said:
        if one.message_id and written.get(one.session_id, {}).get(one.message_id) != one.key:
            found.lost.append(f"{one.key}: acknowledged as {one.message_id} and not in the book")
    times = Counter(row.content for rows in book.values() for row in rows)
    found.doubled += [f"{key}: {count} times in the book" for key, count in times.items() if count > 1]
    for view in views:
        _compare(view, [(row.id, row.content) for row in book.get(view.session_id, [])], found)
    return found


def _compare(view: View, rows: Sequence[tuple[int, str]], found: Findings) -> None:
    where = f"session {view.session_id}, {view.side}"
    if view.rows == rows:
        return
    seen = Counter(view.rows)
    found.lost += [f"{where}: {id_} was never seen" for id_, content in rows if not seen[(id_, content)]]
    found.doubled += [f"{where}: {id_} was seen {count} times" for (id_, _), count in seen.items() if count > 1]
    known = set(rows)
    found.disordered += [f"{where}: {id_} is not in the book" for id_, content in seen if (id_, content) not in known]
    once = list(dict.fromkeys(row for row in view.rows if row in known))
    if once != [row for row in rows if seen[row]]:
        found.disordered.append(f"{where}: not in the book's order")
