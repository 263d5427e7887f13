"""Spans of sessions and of the gateway, by OpenTelemetry.

One span for a batch, linked to the traces of its ads: a batch has many parents. Imports
OpenTelemetry: import this module inside functions only (`open_tracing` does).
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ops.errors import ConfigurationError

CLOSE_WITHIN_S = 2.0
_EXPORTERS = "opentelemetry_traces_exporter"  # the entry points of exporters
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_W3C = TraceContextTextMapPropagator()


class Spans:
    """The spans of one process. Thread-safe. Close it: spans are exported in the background."""

    def __init__(self, provider: TracerProvider, *, owned: bool) -> None:
        self._provider = provider
        self._owned = owned
        self._tracer = provider.get_tracer("lalafo")

    def batch(self, stage: str, traceparents: Iterable[str]) -> AbstractContextManager[object]:
        """A span of its own trace, linked to the traces of its ads."""
        given = list(traceparents)
        return self._tracer.start_as_current_span(
            f"session.{stage}",
            context=Context(),
            kind=SpanKind.CONSUMER if stage == "intake" else SpanKind.INTERNAL,
            links=_links(given),
            attributes={"messaging.batch.message_count": len(given)},
        )

    def ad(self, stage: str, traceparent: str) -> AbstractContextManager[object]:
        """A span in the ad's own trace."""
        return self._tracer.start_as_current_span(f"session.{stage}", context=_context(traceparent))

    def announced(self, traceparents: Sequence[str]) -> list[str | None]:
        """For each ad, the traceparent of its record on `ads.scored`.

        An ad with a trace gets a span there, linked to the current batch; the batch's span stands
        for the others.
        """
        batch = trace.get_current_span()
        links = [Link(batch.get_span_context())]
        found: list[str | None] = []
        for traceparent in traceparents:
            if traceparent == "":
                found.append(_traceparent(batch))
                continue
            span = self._tracer.start_span(
                "session.announce",
                context=_context(traceparent),
                kind=SpanKind.PRODUCER,
                links=links,
            )
            span.end()
            found.append(_traceparent(span))
        return found

    @contextmanager
    def request(self, method: str, traceparent: str) -> Iterator["RequestSpan"]:
        """A span of an HTTP request, in the caller's trace if there is one.

        Where another instrumentation has begun one (`opentelemetry-instrument`, FastAPI's own),
        that is used as it is.
        """
        current = trace.get_current_span()
        if current.get_span_context().is_valid:
            yield RequestSpan(current, method)
            return
        with self._tracer.start_as_current_span(
            method, context=_context(traceparent), kind=SpanKind.SERVER
        ) as span:
            span.set_attribute("http.request.method", method)
            yield RequestSpan(span, method)

    def close(self) -> None:
        """Export what is left, for CLOSE_WITHIN_S at most: a collector may be unreachable."""
        if self._owned:
            thread = threading.Thread(
                target=self._provider.shutdown, name="tracing-end", daemon=True
            )
            thread.start()
            thread.join(CLOSE_WITHIN_S)


class RequestSpan:
    """The span of one HTTP request."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method
        self.traceparent = _traceparent(span)

    def answered(self, status: int, route: str) -> None:
        """Record the answer. `route` is the path's pattern, never the path itself."""
        self._span.set_attribute("http.response.status_code", status)
        if route:
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{self._method} {route}")
        if status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)


def new_spans(service: str) -> Spans:
    """Spans that are exported as the variables OTEL_… say.

    An OpenTelemetry that the process has set up already, as `opentelemetry-instrument` does, is
    used as it is.

    Raises:
        ConfigurationError: OTEL_TRACES_EXPORTER names an exporter that is not installed.
    """
    existing = trace.get_tracer_provider()
    if isinstance(existing, TracerProvider):
        return Spans(existing, owned=False)
    given = os.environ.get("OTEL_SERVICE_NAME", "") + os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = os.environ.get("OTEL_SERVICE_NAME", "") != "" or f"{SERVICE_NAME}=" in given
    resource = Resource.create({} if named else {SERVICE_NAME: service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `close` does it
    for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        if name.strip() not in ("", "none"):
            provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())()))
    return Spans(provider, owned=True)


def _exporter(name: str) -> type:
    """The class of an exporter, by its name in OTEL_TRACES_EXPORTER."""
    wanted = name
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
        wanted = _OTLP.get(protocol, protocol)
    found = {it.name: it for it in entry_points(group=_EXPORTERS)}
    if wanted not in found:
        raise ConfigurationError(
            f"OTEL_TRACES_EXPORTER={name!r} needs the exporter {wanted}, which is not installed. "
            f"Installed are: {', '.join(sorted(found))}, none."
        )
    loaded: type = found[wanted].load()
    return loaded


def _context(traceparent: str) -> Context:
    """The remote context; without one, that of a new trace."""
    return _W3C.extract({"traceparent": traceparent} if traceparent else {}, context=Context())


def _links(traceparents: Iterable[str]) -> list[Link]:
    spans = (trace.get_current_span(_context(it)) for it in traceparents if it != "")
    return [Link(span.get_span_context()) for span in spans if span.get_span_context().is_valid]


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent", "")
