"""Prometheus metrics of one gateway process, at /metrics.

Owns the metrics' names, labels and buckets, and who may read them: this machine, or a key with the
scope `admin`. Label values come from the application's routes, never from a caller's input, so
their number is bounded. Each application has its own registry, so that two applications in one
process (a test) do not mix.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem
from gateway.services import Services
from resources.postgres.connections import open_connections

BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")

FOUND, NONE = "found", "none"

router = APIRouter(include_in_schema=False)


class GatewayMetrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client's own
        self.registry = CollectorRegistry()
        self._services: Services | None = None
        self._requests = Counter(
            "lalafo_gateway_requests",
            "Number of requests that were answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "lalafo_gateway_request_seconds",
            "Seconds from the request's head to the response's end, including waits by ?wait=.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._searches = Counter(
            "lalafo_gateway_searches",
            "Searches of similar ads, by what, and with which answer.",
            ["by", "answer"],
            registry=self.registry,
        )
        self._duplicates = Counter(
            "lalafo_gateway_duplicates",
            "Requests for the duplicates of an ad, by their answer.",
            ["answer"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lalafo_gateway_in_flight", "Requests in progress.", registry=self.registry
        )
        self.registry.register(self)

    def record(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request; all unknown methods share the label `other`."""
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, status).inc()
        self._seconds.labels(route, known).observe(seconds)

    def searching(self, by: str) -> AbstractContextManager["Answer"]:
        """Count a search by `ad`, `photo` or `vector`."""
        return _counting(self._searches.labels, by)

    def reading_duplicates(self) -> AbstractContextManager["Answer"]:
        """Count a request for duplicates."""
        return _counting(self._duplicates.labels)

    def text(self, services: Services) -> bytes:
        """All metrics in Prometheus' text format."""
        self._services = services
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """The current values of the services; the registry calls this."""
        if self._services is None:
            return
        outbox, commits = self._services.outbox, self._services.commits
        for name, help_text, value in (
            ("outbox_waiting", "Records that Kafka has not acknowledged yet.", outbox.waiting),
            (
                "broker_unavailable",
                "1 while Kafka is unavailable or was not reached yet, else 0.",
                int(outbox.broker_unavailable),
            ),
            (
                "store_unavailable",
                "1 while the photo store is full or can't be written, else 0.",
                int(self._services.store_watch.last_problem is not None),
            ),
            ("waiters", "Requests that wait for the commit of an ad.", commits.waiters),
            (
                "database_connections",
                "Connections to PostgreSQL that this process has open.",
                open_connections(),
            ),
        ):
            yield GaugeMetricFamily(f"lalafo_gateway_{name}", help_text, value)
        yield CounterMetricFamily(
            "lalafo_gateway_republished",
            "Accepted ads whose records the topic had lost, and which were published again.",
            outbox.republished,
        )


@dataclass(slots=True)
class Answer:
    """How a request was answered."""

    kind: str = "error"


@contextmanager
def _counting(labelled: Callable[..., Counter], *labels: str) -> Iterator[Answer]:
    """Count the answer that the block names, or the kind of the problem that it raises."""
    answer = Answer()
    try:
        yield answer
    except Problem as problem:
        answer.kind = problem.kind
        raise
    finally:
        labelled(*labels, answer.kind).inc()


class MetricsMiddleware:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started_at = 500, time.perf_counter()

        async def recording_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, recording_send)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            seconds = time.perf_counter() - started_at
            self._metrics.record(route, scope["method"], status, seconds)


def metrics_of(request: Request) -> GatewayMetrics:
    """The metrics of the application, as a dependency."""
    metrics: GatewayMetrics = request.app.state.metrics
    return metrics


MetricsDep = Annotated[GatewayMetrics, Depends(metrics_of)]


def install(app: FastAPI) -> None:
    """Add the middleware that counts and times every request."""
    app.state.metrics = GatewayMetrics()
    app.add_middleware(MetricsMiddleware, metrics=app.state.metrics)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The metrics in Prometheus' text format."""
    services: Services = request.app.state.services
    if not from_this_machine(request):
        caller = await services.keys.caller(request.headers)
        if "admin" not in caller.scopes:
            raise Problem(
                403, "scope", "metrics require a key with the scope admin", needed="admin"
            )
    text: Callable[[Services], bytes] = request.app.state.metrics.text
    return Response(text(services), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def from_this_machine(request: Request) -> bool:
    """Whether the caller connects from loopback, and not through a proxy on this machine."""
    from gateway.edge.exposure import is_loopback

    if any(name in request.headers for name in FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)
