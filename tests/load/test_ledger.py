"""The accounting finds what it is there for."""

import pytest

from tests.load.ledger import Findings, Latencies, Ledger, Row, Said, View, verify

BOOK = {7: [Row(1, 7, "a"), Row(2, 7, "b"), Row(5, 7, "c")], 8: [Row(3, 8, "d")]}
ROWS = [(1, "a"), (2, "b"), (5, "c")]


def said(key: str, message_id: int, session_id: int = 7) -> Said:
    return Said(key, session_id, "user", 0.0, message_id)


def view(*rows: tuple[int, str]) -> View:
    return View("staff", 7, list(rows))


def test_what_is_as_the_book_has_it_is_no_finding() -> None:
    everything = [said("a", 1), said("b", 2), said("c", 5), said("d", 3, 8), said("never done", 0)]
    found = verify(everything, BOOK, [view(*ROWS), View("user", 8, [(3, "d")]), View("user", 9)])
    assert found.ok and found == Findings()


@pytest.mark.parametrize("lie", [said("x", 4), said("a", 2), said("d", 3, 7)])
def test_an_acknowledged_message_that_is_not_in_the_book_is_lost(lie: Said) -> None:
    found = verify([lie], BOOK, [])
    assert len(found.lost) == 1 and lie.key in found.lost[0] and not found.ok


def test_one_send_twice_in_the_book_is_doubled_even_when_it_was_never_acknowledged() -> None:
    found = verify([said("a", 0)], {7: [Row(1, 7, "a"), Row(2, 7, "a")]}, [])
    assert found.doubled == ["a: 2 times in the book"]


def test_what_a_side_never_saw_is_lost() -> None:
    found = verify([], BOOK, [view(*ROWS[:2])])
    assert (found.lost, found.doubled, found.disordered) == (["session 7, staff: 5 was never seen"], [], [])


def test_what_a_side_saw_twice_is_doubled() -> None:
    found = verify([], BOOK, [view(ROWS[0], ROWS[0], *ROWS[1:])])
    assert (found.lost, found.doubled, found.disordered) == ([], ["session 7, staff: 1 was seen 2 times"], [])


def test_what_a_side_saw_in_another_order_is_disordered() -> None:
    found = verify([], BOOK, [view(ROWS[1], ROWS[0], ROWS[2])])
    assert (found.lost, found.doubled) == ([], [])
    assert found.disordered == ["session 7, staff: not in the book's order"]


def test_what_only_a_side_saw_is_a_finding_too() -> None:
    found = verify([], BOOK, [view(*ROWS, (6, "ghost"))])
    assert found.disordered == ["session 7, staff: 6 is not in the book"]


def test_a_delivery_is_what_the_other_side_saw() -> None:
    ledger = Ledger()
    ledger.said["a"] = Said("a", 7, "user", due=10.0)
    ledger.saw(View("user", 7), Row(1, 7, "a"), 10.5)
    assert ledger.deliveries.values == []
    ledger.saw(View("staff", 7), Row(1, 7, "a"), 10.25)
    assert ledger.deliveries.values == [0.25]


def test_percentiles_are_in_milliseconds() -> None:
    latencies = Latencies()
    assert latencies.figures() == {}
    latencies.values = [number / 1000 for number in range(100, 0, -1)]
    assert latencies.figures() == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 100.0}
