"""One trace from a request to the record on `ads.scored`, by the in-memory exporter."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ops.types import StreamRecord
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.outbox import relay
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from resources.tracing import spans
from resources.tracing.session import session_tracing
from resources.tracing.spans import Spans
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.topic_records import everything_on
from tests.support.working_sessions import until

CALLER = "0af7651916cd43dd8448eb211c80319c"
HEADER = f"00-{CALLER}-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Gets every span at once, instead of what OTEL_TRACES_EXPORTER names."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "new_spans", lambda _: Spans(provider_of(exporter), owned=False))
    return exporter


def provider_of(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def spans_of(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def linked(spans: list[ReadableSpan]) -> set[str]:
    """The trace ids of all links of these spans."""
    return {f"{link.context.trace_id:032x}" for span in spans for link in span.links}


def traceparent(record: StreamRecord) -> str:
    return dict(record.headers)["traceparent"].decode()


def test_a_trace_leads_from_the_request_to_the_scored_record(
    live: Live, exporter: InMemorySpanExporter
) -> None:
    """An ad of a traced caller, one of another caller, and one that no trace knows: the first two
    keep their traces to the end; batches are traces of their own, with links."""
    url = live.photo("a.jpg", jpeg(noisy(80, 60, 1)))
    settings = live.settings.model_copy(update={"tracing": True, "gateway_auth": "off"})
    with live_gateway(settings) as gateway:
        for ad_id, headers in (("traced", {"traceparent": HEADER}), ("plain", {})):
            answer = httpx.post(
                f"{gateway.url}/v1/ads?wait=0",
                json={"catalog": "kg", "ad_id": ad_id, "photos": [{"url": url}]},
                headers=headers,
            )
            assert answer.status_code == 202, answer.text
        until(lambda: len(everything_on(live.stream, settings.ads_topic)) == 2)
        httpx.get(f"{gateway.url}/healthz")
    live.publish(ad("unknown", [url]))
    first, second = spans_of(exporter, "POST /v1/ads")
    assert len([it for it in exporter.get_finished_spans() if it.kind.name == "SERVER"]) == 2
    assert (trace_of(first), f"{first.parent.span_id:016x}") == (CALLER, "b7ad6b7169203331")
    assert second.parent is None
    assert first.attributes["http.response.status_code"] == 202

    with session_tracing(settings) as tracing:
        live.parts = replace(live.parts, tracing=tracing)
        total, _ = live.drain()
    assert total.written == 3

    own, other = CALLER, trace_of(second)
    for name in ("session.intake", "session.model", "session.commit"):
        batches = spans_of(exporter, name)
        assert batches != []
        assert {span.parent for span in batches} == {None}, "no message is the parent of a batch"
        assert not {trace_of(span) for span in batches} & {own, other}
        assert linked(batches) == {own, other}
    for name in ("session.photos", "session.announce"):
        parents = {trace_of(span): span.parent.span_id for span in spans_of(exporter, name)}
        assert parents == {own: first.context.span_id, other: second.context.span_id}
    commits = spans_of(exporter, "session.commit")
    announced = spans_of(exporter, "session.announce")
    assert linked(announced) <= {trace_of(span) for span in commits}

    records = everything_on(live.stream, live.stream.config.scored_topic)
    found = {json.loads(it.value)["ad_id"]: traceparent(it)[3:-3] for it in records}
    by_id = {f"{trace_of(it)}-{it.context.span_id:016x}": it for it in (*announced, *commits)}
    assert set(found) == {"traced", "plain", "unknown"}
    assert trace_of(by_id[found["traced"]]) == own
    assert trace_of(by_id[found["plain"]]) == other
    assert by_id[found["unknown"]] in commits


def test_a_trace_goes_through_a_session_that_has_no_tracing(live: Live) -> None:
    """The header is passed on as it came; a record without one gets none."""
    with live.stream.publisher() as publisher:
        for ad_id, headers in (("traced", [("traceparent", HEADER.encode())]), ("plain", [])):
            value = json.dumps(ad(ad_id, [])).encode()
            publisher.publish(live.settings.ads_topic, f"kg/{ad_id}".encode(), value, headers)
        publisher.flush(10)
    live.drain()
    records = everything_on(live.stream, live.stream.config.scored_topic)
    found = {json.loads(it.value)["ad_id"]: dict(it.headers) for it in records}
    assert found == {"traced": {"traceparent": HEADER.encode()}, "plain": {}}


def test_the_outbox_keeps_the_trace_until_a_relay_sends_the_record(
    database: Database,
    embedded_broker: EmbeddedBroker,
    exporter: InMemorySpanExporter,
    tmp_path: Path,
) -> None:
    """While Kafka is unavailable the row has it; the relay of another process writes the header."""
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        tracing=True,
    )
    with live_gateway(settings.model_copy(update={"kafka_bootstrap": ""})) as gateway:
        body = {"catalog": "kg", "ad_id": "1", "photos": []}
        headers = {"traceparent": HEADER}
        assert httpx.post(f"{gateway.url}/v1/ads", json=body, headers=headers).status_code == 202
    (request,) = spans_of(exporter, "POST /v1/ads")
    expected = f"00-{CALLER}-{request.context.span_id:016x}-01"  # the caller's flags
    with database.cursor() as cursor:
        cursor.execute("SELECT traceparent FROM lalafo.outbox")
        assert cursor.fetchall() == [(expected,)]
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
        with stream.publisher() as publisher:
            assert relay(database, publisher, older_than_s=0, limit=10) == 1
        (record,) = everything_on(stream, settings.ads_topic)
    assert traceparent(record) == expected


def test_an_instrumented_process_gets_one_span_a_request(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its provider is used, and a span that another instrumentation has begun (FastAPI has its
    own) is the request's."""
    exporter = InMemorySpanExporter()
    provider = provider_of(exporter)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    settings = Settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        kafka_bootstrap="",
        gateway_auth="off",
        tracing=True,
    )
    with live_gateway(settings) as gateway:
        body = {"catalog": "kg", "ad_id": "1", "photos": []}
        headers = {"traceparent": HEADER}
        assert httpx.post(f"{gateway.url}/v1/ads", json=body, headers=headers).status_code == 202
    found = [it for it in exporter.get_finished_spans() if it.kind is trace.SpanKind.SERVER]
    assert [it.name for it in found] == ["POST /v1/ads"]
    with database.cursor() as cursor:
        cursor.execute("SELECT traceparent FROM lalafo.outbox")
        assert cursor.fetchall() == [(f"00-{CALLER}-{found[0].context.span_id:016x}-01",)]


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP collector over HTTP: its address, and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_gateway_exports_as_the_standard_variables_say(
    database: Database, collector: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    """By OTLP, with the service's name; what is left is sent when the process ends."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    address, bodies = collector
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LALAFO_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--port", "0"],
        env={
            **environment,
            "LALAFO_DATABASE_URL": database.url.render_as_string(),
            "LALAFO_HOME": str(tmp_path),
            "LALAFO_GATEWAY_AUTH": "off",
            "LALAFO_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        until(lambda: answers(f"{url}/healthz"))
        assert httpx.get(f"{url}/v1/ads/kg/secret-name", timeout=60).status_code == 404
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    (resource,) = ExportTraceServiceRequest.FromString(b"".join(bodies)).resource_spans
    named = {it.key: it.value.string_value for it in resource.resource.attributes}
    assert named["service.name"] == "lalafo-gateway"
    (span,) = resource.scope_spans[0].spans
    assert span.name == "GET /v1/ads/{catalog}/{ad_id:path}"
    assert b"secret-name" not in b"".join(bodies)
