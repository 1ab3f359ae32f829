"""The hub against a model so plain that it cannot be wrong: a set of (listener, topic) pairs."""

import random

import pytest

from channels import Hub


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def hear(self, payload: bytes) -> None:
        self.heard.append(payload)


class DeafEar(Ear):
    def hear(self, payload: bytes) -> None:
        raise RuntimeError("broken")


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_plain_set_of_pairs(seed: int) -> None:
    rng = random.Random(seed)
    hub, pairs = Hub(), set[tuple[Ear, str]]()
    ears = [Ear() for _ in range(8)]
    topics = [f"account:{n}" for n in range(6)]
    for step in range(2000):
        ear, topic = rng.choice(ears), rng.choice(topics)
        before = {topic for _, topic in pairs}
        match rng.choice(["join", "join", "part", "leave", "deliver"]):
            case "join":
                assert hub.join(ear, topic) == (topic not in before)
                pairs.add((ear, topic))
            case "part":
                pairs.discard((ear, topic))
                assert hub.part(ear, topic) == (topic in before - {topic for _, topic in pairs})
            case "leave":
                pairs = {pair for pair in pairs if pair[0] is not ear}
                assert set(hub.leave(ear)) == before - {topic for _, topic in pairs}
            case _:
                payload = b"%d" % step
                chosen = rng.sample(topics, rng.randint(1, 3))
                besides = rng.sample(topics, rng.randint(0, 1))
                expected = {e for e, t in pairs if t in chosen} - {e for e, t in pairs if t in besides}
                assert hub.deliver(chosen, payload, besides=besides) == len(expected)
                assert {e for e in ears if payload in e.heard} == expected
        assert set(hub.topics()) == {topic for _, topic in pairs}
        assert len(hub) == len({ear for ear, _ in pairs})
        assert hub.topics_of(ear) == {t for e, t in pairs if e is ear}
        assert hub.listeners_of(topic) == {e for e, t in pairs if t == topic}
    assert all(len(ear.heard) == len(set(ear.heard)) for ear in ears)


def test_hands_out_the_very_same_bytes() -> None:
    hub, ears, payload = Hub(), [Ear(), Ear()], b"a payload"
    for ear in ears:
        hub.join(ear, "account:7")
    assert hub.deliver(["account:7"], payload) == 2
    assert all(ear.heard[0] is payload for ear in ears)


def test_who_hears_by_two_topics_hears_once() -> None:
    hub, ear = Hub(), Ear()
    hub.join(ear, "account:7")
    hub.join(ear, "account:8")
    assert hub.deliver(["account:7", "account:8"], b"once") == 1
    assert ear.heard == [b"once"]


def test_one_listeners_fault_costs_the_others_nothing() -> None:
    hub, ears = Hub(), [Ear(), DeafEar(), Ear()]
    for ear in ears:
        hub.join(ear, "account:7")
    hub.deliver(["account:7"], b"on")
    assert [ear.heard for ear in ears] == [[b"on"], [], [b"on"]]


def test_a_listener_may_leave_while_it_hears() -> None:
    hub = Hub()

    class Leaver(Ear):
        def hear(self, payload: bytes) -> None:
            super().hear(payload)
            hub.leave(self)

    ears = [Leaver() for _ in range(3)]
    for ear in ears:
        hub.join(ear, "account:7")
    assert hub.deliver(["account:7"], b"bye") == 3
    assert all(ear.heard == [b"bye"] for ear in ears)
    assert not hub.topics()
    assert len(hub) == 0


def test_leaving_without_having_joined_is_no_error() -> None:
    hub = Hub()
    assert hub.leave(Ear()) == []
    assert not hub.part(Ear(), "account:7")
    assert hub.deliver(["account:7"], b"nobody") == 0
