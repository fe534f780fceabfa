"""What Prometheus may read: requests, latency, queue, cache hits, encodes, the index.

The processes of a ``serve --workers`` add up what each of them counts, in files of a folder that the variable
``PROMETHEUS_MULTIPROC_DIR`` names: that is how prometheus_client does it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from zsindex.upkeep.room import Room

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Of each process, and of all of them: their sum.
OF_PROCESS = ("requests_running", "requests_waiting", "model_loaded", "answer_bytes")


def forget_dead() -> None:
    """Forget what processes were at that have ended: what they have counted stays."""
    if os.name == "nt":  # where asking whether a process is there would end it
        return
    for file in Path(os.environ.get(FOLDER_VARIABLE) or os.devnull).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except OSError:
            pass


class Metrics(Collector):
    """The metrics of one service, in a registry of their own: a program may embed several."""

    def __init__(
        self,
        usage: Callable[[], dict[str, int]],
        of_process: Callable[[], dict[str, float]],
        of_library: Callable[[], dict[str, float]],
        rooms: Callable[[], Sequence[Room]],
    ) -> None:
        """Args:
        usage: `Library.usage`.
        of_process: name and present value of each of `OF_PROCESS`.
        of_library: the same of others.
        rooms: `Library.room`.
        """
        self._usage, self._of_process, self._of_library, self._rooms = usage, of_process, of_library, rooms
        self._registry = own = CollectorRegistry()
        self._requests = Counter("zsindex_requests", "Requests answered.", ["method", "route", "status"], registry=own)
        self._seconds = Histogram(
            "zsindex_request_seconds", "Time to answer.", ["route"], buckets=BUCKETS, registry=own
        )
        self._refused = Counter("zsindex_refused", "Requests refused by a limit.", ["reason"], registry=own)
        about = "Vectors that were asked for, by whether they were there."
        cache = Counter("zsindex_cache", about, ["kind", "result"], registry=own)
        self._used = {
            "model_loads": Counter("zsindex_model_loads", "Times that a model was loaded.", registry=own),
            **{
                f"{kind}_{done}": cache.labels(kind, result)
                for kind in ("images", "prompts")
                for done, result in (("reused", "hit"), ("encoded", "miss"))
            },
        }
        self._counted = dict.fromkeys(self._used, 0)
        self._lock = threading.Lock()
        self._gauges = {
            name: Gauge(f"zsindex_{name}", _about(name), registry=own, multiprocess_mode="livesum")
            for name in OF_PROCESS
        }
        self._page = own
        if FOLDER_VARIABLE in os.environ:
            self._page = CollectorRegistry()
            MultiProcessCollector(self._page)  # type: ignore[no-untyped-call]
        self._page.register(self)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if self._page is not self._registry:  # another process may be asked for the sum
            self._note()

    def refused(self, reason: str) -> None:
        """Count a request that a limit sent away."""
        self._refused.labels(reason).inc()

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        self._note()
        return generate_latest(self._page)

    def describe(self) -> Iterable[Metric]:
        """See `Collector`: nothing is asked of the library when the metrics are made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        kept = GaugeMetricFamily("zsindex_kept", "What is kept and grows.", labels=["kind"])
        taken = GaugeMetricFamily("zsindex_kept_bytes", "What that takes.", labels=["kind"])
        for room in self._rooms():
            kept.add_metric([room.kind], room.count)
            taken.add_metric([room.kind], room.bytes)
        yield from (kept, taken)
        for name, value in self._of_library().items():
            yield GaugeMetricFamily(f"zsindex_{name}", _about(name), value=value)

    def _note(self) -> None:
        """Note what this process is at."""
        with self._lock:
            usage = self._usage()
            for name, counter in self._used.items():
                if new := usage[name] - self._counted[name]:
                    self._counted[name] = usage[name]
                    counter.inc(new)
        for name, value in self._of_process().items():
            self._gauges[name].set(value)


def _about(name: str) -> str:
    return name.replace("_", " ").capitalize() + "."
