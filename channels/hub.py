"""Who in this process listens to which topic.

The broker brings events in; outboxes and waiters take them. Two maps mirror each other, as in Redis's own `pubsub.c`,
and a topic that nobody hears any more is dropped. No I/O, no awaits, no decoding: a delivery is done when it returns.
"""

import logging
from collections.abc import Collection, KeysView
from typing import Protocol

from channels.counters import Counters

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Anything that can be handed a payload, and is told apart by its identity."""

    def hear(self, payload: bytes) -> None:
        """Take one payload; must neither block nor raise."""


class Hub:
    """The listeners of this process, by topic and back."""

    def __init__(self, counters: Counters | None = None) -> None:
        self._listeners: dict[str, set[Listener]] = {}
        self._topics: dict[Listener, set[str]] = {}
        self._counters = counters or Counters()

    def join(self, listener: Listener, topic: str) -> bool:
        """Let a listener hear a topic; True when it is the topic's first listener."""
        self._topics.setdefault(listener, set()).add(topic)
        heard_by = self._listeners.get(topic)
        if heard_by is None:
            self._listeners[topic] = {listener}
            return True
        heard_by.add(listener)
        return False

    def part(self, listener: Listener, topic: str) -> bool:
        """Let a listener hear a topic no more; True when it was the topic's last listener."""
        topics = self._topics.get(listener)
        if topics is None or topic not in topics:
            return False
        topics.remove(topic)
        if not topics:
            del self._topics[listener]
        heard_by = self._listeners[topic]
        heard_by.remove(listener)
        if heard_by:
            return False
        del self._listeners[topic]
        return True

    def leave(self, listener: Listener) -> list[str]:
        """Forget a listener altogether; answers the topics that nobody hears any more."""
        return [topic for topic in tuple(self._topics.get(listener, ())) if self.part(listener, topic)]

    def deliver(self, topics: Collection[str], payload: bytes, *, besides: Collection[str] = ()) -> int:
        """Hand the same bytes object to every listener of these topics, to each once; answers to how many.

        `besides` names topics whose listeners have this event already.
        """
        if len(topics) == 1 and not besides:
            (topic,) = topics
            heard_by = self._listeners.get(topic)
            if heard_by is None:
                return 0
            listeners = tuple(heard_by)  # a copy: a listener that overflows leaves while we walk
        else:
            listeners = tuple(self._gather(topics) - self._gather(besides))
        for listener in listeners:
            try:
                listener.hear(payload)
            except Exception:  # one listener's fault must not cost the others the event
                log.exception("a listener failed to take an event")
        self._counters.delivered += len(listeners)
        return len(listeners)

    def _gather(self, topics: Collection[str]) -> set[Listener]:
        """All listeners of any of these topics."""
        return set().union(*(self._listeners.get(topic, ()) for topic in topics))

    def hears(self, topic: str) -> bool:
        """Whether anybody here listens to the topic."""
        return topic in self._listeners

    def topics(self) -> KeysView[str]:
        """All topics that somebody here listens to; a live view."""
        return self._listeners.keys()

    def topics_of(self, listener: Listener) -> frozenset[str]:
        """The topics that one listener hears."""
        return frozenset(self._topics.get(listener, ()))

    def listeners_of(self, topic: str) -> frozenset[Listener]:
        """The listeners that hear one topic."""
        return frozenset(self._listeners.get(topic, ()))

    def __len__(self) -> int:
        """How many listeners there are."""
        return len(self._topics)
