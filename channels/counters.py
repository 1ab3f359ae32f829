"""What this package counts. Plain numbers; `/metrics` reads them when it is scraped."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Numbers since the process began, except the last three, which are the present state."""

    published: int = 0  # frames that Redis took (one for each topic of an event)
    dropped: int = 0  # frames that never reached Redis: queue full, too old, or cut off on the way
    heard: int = 0  # frames of other replicas that came by Redis
    echoes: int = 0  # own frames that came back by Redis and were ignored
    garbled: int = 0  # frames on our topics that no replica of ours has made
    delivered: int = 0  # payloads handed to a listener of this process
    overflows: int = 0  # listeners parted with because too much waited for them
    reconnects: int = 0  # connections to Redis made after the first
    gaps: int = 0  # times that the book was read for what may have been missed
    gap_failures: int = 0  # ... and could not be read
    queue_length: int = 0  # frames that wait for Redis
    queue_bytes: int = 0
    canary_seconds: float = 0.0  # round trip of the last canary
