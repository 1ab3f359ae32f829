"""What `/metrics` tells Prometheus. Hot paths add to plain numbers; the text is made at scrape."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# Seconds: from an idle poll to the deadline of a call.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Gauges = Callable[[], Iterable[tuple[str, str, float]]]


class Metrics(Collector):
    """The numbers of one replica."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._counters: list[Gauges] = []
        self._gauges: list[Gauges] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def seen(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(BOUNDS) + 1)
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self._sums[route] = self._sums.get(route, 0.0) + seconds

    def add_counters(self, read: Gauges) -> None:
        """Have (name, meaning, value) of ever-growing numbers read at scrape."""
        self._counters.append(read)

    def add_gauges(self, read: Gauges) -> None:
        """Have (name, meaning, value) of numbers that go up and down read at scrape."""
        self._gauges.append(read)

    def text(self) -> bytes:
        """Give everything in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give every metric family."""
        yield self._requests()
        yield self._seconds()
        for read in self._counters:
            for name, meaning, value in read():
                yield CounterMetricFamily(f"concierge_{name}", meaning, value)
        for read in self._gauges:
            for name, meaning, value in read():
                yield GaugeMetricFamily(f"concierge_{name}", meaning, value)

    def _requests(self) -> Metric:
        family = CounterMetricFamily("concierge_requests", "Answered requests.", labels=["route", "status"])
        for (route, status), count in self.requests.items():
            family.add_metric([route, str(status)], count)
        return family

    def _seconds(self) -> Metric:
        family = HistogramMetricFamily("concierge_request_seconds", "Time to answer.", labels=["route"])
        for route, buckets in self._buckets.items():
            total = 0
            cumulative = []
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
                total += count
                cumulative.append((bound, float(total)))
            family.add_metric([route], cumulative, self._sums[route])
        return family
