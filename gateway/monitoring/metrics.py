"""Prometheus metrics of one gateway process, at /metrics.

Decides names, labels and buckets, and who may read them: this machine, or a key with the scope
admin. Labels come from our own routes, never from what a caller sends: their number is bounded.
One registry an application, so that two in one process (a test) stay apart.
"""

import time
from collections.abc import Callable, Iterator

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem
from gateway.services import Services

BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")

router = APIRouter(include_in_schema=False)


class GatewayMetrics:
    """What one application has served."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client's own
        self.registry = CollectorRegistry()
        self._services: Services | None = None
        self._requests = Counter(
            "lalafo_gateway_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "lalafo_gateway_request_seconds",
            "From the request's head to the answer's end; what waits with ?wait= included.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lalafo_gateway_in_flight", "Requests at work.", registry=self.registry
        )
        self.registry.register(self)

    def served(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request was answered; of an unknown method, as any other unknown one."""
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, status).inc()
        self._seconds.labels(route, known).observe(seconds)

    def text(self, services: Services) -> bytes:
        """All of it, in Prometheus' text format."""
        self._services = services
        return generate_latest(self.registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What the parts know now; asked for by the registry."""
        if self._services is None:
            return
        outbox, commits = self._services.outbox, self._services.commits
        for name, help_text, value in (
            ("outbox_waiting", "Events that Kafka has not acknowledged.", outbox.waiting),
            (
                "broker_unavailable",
                "1 while Kafka is not known to be there.",
                int(outbox.broker_unavailable),
            ),
            ("waiters", "Requests that wait for an ad's commit.", commits.waiters),
        ):
            yield GaugeMetricFamily(f"lalafo_gateway_{name}", help_text, value)


class Measured:
    """Middleware: counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, noted_send)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            seconds = time.perf_counter() - began
            self._metrics.served(route, scope["method"], status, seconds)


def install(app: FastAPI) -> None:
    """Count and time every request."""
    app.state.metrics = GatewayMetrics()
    app.add_middleware(Measured, metrics=app.state.metrics)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    services: Services = request.app.state.services
    if not from_this_machine(request):
        caller = await services.keys.caller(request.headers)
        if "admin" not in caller.scopes:
            raise Problem(403, "scope", "metrics are for keys with the scope admin", needed="admin")
    text: Callable[[Services], bytes] = request.app.state.metrics.text
    return Response(text(services), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def from_this_machine(request: Request) -> bool:
    """Whether the caller itself is on loopback: not somebody behind a proxy that is."""
    from gateway.edge.exposure import is_loopback

    if any(name in request.headers for name in FORWARDED):
        return False
    return request.client is not None and is_loopback(request.client.host)
