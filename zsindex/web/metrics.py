"""What Prometheus may read: requests, latency, queue, cache hits, encodes, the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zsindex.upkeep.room import Room

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics(Collector):
    """The metrics of one service, in a registry of their own: a program may embed several."""

    def __init__(
        self,
        usage: Callable[[], dict[str, int]],
        gauges: Callable[[], dict[str, float]],
        rooms: Callable[[], Sequence[Room]],
    ) -> None:
        """Args:
        usage: `Library.usage`.
        gauges: name and present value.
        rooms: `Library.room`.
        """
        self._usage, self._gauges, self._rooms = usage, gauges, rooms
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "zsindex_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "zsindex_request_seconds", "Time to answer.", ["route"], buckets=BUCKETS, registry=self._registry
        )
        self._refused = Counter("zsindex_refused", "Requests refused by a limit.", ["reason"], registry=self._registry)
        self._registry.register(self)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that a limit sent away."""
        self._refused.labels(reason).inc()

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """See `Collector`: nothing is asked of the library when the metrics are made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        usage = self._usage()
        cache = CounterMetricFamily(
            "zsindex_cache", "Vectors that were asked for, by whether they were there.", labels=["kind", "result"]
        )
        for kind in ("images", "prompts"):
            cache.add_metric([kind, "hit"], usage[f"{kind}_reused"])
            cache.add_metric([kind, "miss"], usage[f"{kind}_encoded"])
        yield cache
        yield CounterMetricFamily("zsindex_model_loads", "Times that a model was loaded.", value=usage["model_loads"])
        kept = GaugeMetricFamily("zsindex_kept", "What is kept and grows.", labels=["kind"])
        taken = GaugeMetricFamily("zsindex_kept_bytes", "What that takes.", labels=["kind"])
        for room in self._rooms():
            kept.add_metric([room.kind], room.count)
            taken.add_metric([room.kind], room.bytes)
        yield from (kept, taken)
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"zsindex_{name}", name.replace("_", " ").capitalize() + ".", value=value)
