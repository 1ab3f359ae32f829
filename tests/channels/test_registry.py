"""Who is online here: connections are counted, graces and calls run out."""

import pytest

from channels import registry
from channels.registry import CALL_SECONDS, GRACE_SECONDS, REFRESH_SECONDS, Entry, Registry

SEVEN = Entry("7", "staff", "tokyo")
SEVEN_ELSEWHERE = Entry("7", "staff", "osaka")


class Clock:
    """A monotonic clock that only we move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(registry, "monotonic", clock)
    return clock


def test_the_last_connection_begins_the_grace(clock: Clock) -> None:
    here = Registry()
    here.arrive(SEVEN)
    here.arrive(SEVEN)
    here.leave(SEVEN)
    clock.now += 1000
    assert here.expire() == set()
    here.leave(SEVEN)
    clock.now += GRACE_SECONDS
    assert here.expire() == set()
    assert "7" in here
    clock.now += REFRESH_SECONDS
    assert here.expire() == {"7"}
    assert "7" not in here
    assert len(here) == len(list(here)) == 0


def test_who_comes_back_within_the_grace_never_left(clock: Clock) -> None:
    here = Registry()
    here.arrive(SEVEN)
    here.leave(SEVEN)
    here.arrive(SEVEN)
    clock.now += 1000
    assert here.expire() == set()
    assert list(here) == [SEVEN]


def test_one_of_two_places_is_enough(clock: Clock) -> None:
    here = Registry()
    here.arrive(SEVEN)
    here.arrive(SEVEN_ELSEWHERE)
    here.leave(SEVEN)
    clock.now += 1000
    assert here.expire() == set()
    assert list(here) == [SEVEN_ELSEWHERE]


def test_a_call_is_told_once_in_a_refresh(clock: Clock) -> None:
    here = Registry()
    assert here.touch(SEVEN)
    assert not here.touch(SEVEN)
    clock.now += REFRESH_SECONDS + 0.1
    assert here.touch(SEVEN)
    clock.now += CALL_SECONDS
    assert here.expire() == set()
    assert here.remaining_seconds(SEVEN) == pytest.approx(REFRESH_SECONDS)
    clock.now += REFRESH_SECONDS
    assert here.expire() == {"7"}


def test_a_call_adds_nothing_to_a_connection_and_outlives_its_grace(clock: Clock) -> None:
    here = Registry()
    here.arrive(SEVEN)
    assert not here.touch(SEVEN)
    here.leave(SEVEN)
    assert here.touch(SEVEN)
    clock.now += CALL_SECONDS
    assert here.expire() == set()


def test_leaving_without_having_arrived_is_no_error(clock: Clock) -> None:
    here = Registry()
    here.leave(SEVEN)
    assert here.expire() == set()
    assert here.remaining_seconds(SEVEN) <= 0
