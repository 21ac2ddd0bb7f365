"""What is counted, for GET /metrics: one registry an application. Must not know: models, jobs, the database.

A request costs two dictionary look-ups and two additions here: the labels' children are resolved once, and kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from app.core.request import ROUTE

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32)
UNMATCHED = "unmatched"  # the route of a path that nothing answers: any string may be asked for

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nothing reads


@dataclass(frozen=True)
class Meter:
    """What one queue in front of a model counts."""

    rejected: Counter
    sizes: Histogram
    read_waiting: Callable[[Callable[[], float]], None]


class _Source(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


class Metrics:
    """Counters that code adds to, and figures that are read when somebody asks for them (`read`)."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            "inkling_requests", "Requests answered", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "inkling_request_seconds",
            "From a request's headers to the first byte of its answer",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "inkling_queue_rejected", "Requests answered 429 because the queue was full", ("queue",), registry=registry
        )
        self._sizes = Histogram(
            "inkling_batch_size", "Questions answered together", ("queue",), buckets=SIZES, registry=registry
        )
        self.swaps = Counter(
            "inkling_model_swaps",
            "Times that another version of a model began to answer",
            ("model",),
            registry=registry,
        )
        self.failed_loads = Counter(
            "inkling_model_failed_loads", "Versions that did not load", ("model",), registry=registry
        )
        self._waiting: dict[str, Callable[[], float]] = {}
        self._children: dict[tuple[str | None, str, int], tuple[Counter, Histogram]] = {}

    def seen(self, scope: Scope, status: int, seconds: float) -> None:
        """A request was answered; `RequestContext` says so."""
        key = (scope.get(ROUTE), scope["method"], status)
        children = self._children.get(key) or self._resolve(*key)
        children[0].inc()
        children[1].observe(seconds)

    def _resolve(self, route: str | None, method: str, status: int) -> tuple[Counter, Histogram]:
        shown = method if method in METHODS else "other"
        children = (
            self._requests.labels(route or UNMATCHED, shown, str(status)),
            self._seconds.labels(route or UNMATCHED),
        )
        if shown == method:  # of methods that somebody made up there may be any number
            self._children[route, method, status] = children
        return children

    def meter(self, queue: str) -> Meter:
        """The counters of the queue of this name."""

        def read_waiting(read: Callable[[], float]) -> None:
            self._waiting[queue] = read

        return Meter(self._rejected.labels(queue), self._sizes.labels(queue), read_waiting)

    def waiting(self) -> dict[str, int]:
        """How many wait in each queue."""
        return {queue: int(read()) for queue, read in self._waiting.items()}

    def read(self, source: Callable[[], Iterable[Metric]]) -> None:
        """Have `source` called at every look. It may be slow: that is not on the event loop."""
        self.registry.register(_Source(source))

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it in Prometheus' text format, or OpenMetrics where that is asked for; and the media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
