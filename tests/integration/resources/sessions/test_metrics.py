"""A live session's Prometheus metrics, scraped over HTTP like Prometheus does."""

import socket
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.errors import ConfigurationError
from ops.outcomes import Batch, CommitResult
from ops.session.pipeline import Snapshot
from resources.processes.metrics_server import PORTS_TRIED
from resources.sessions.metrics import STAGES, SessionMetrics
from resources.settings import Settings
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

Sample = tuple[str, tuple[tuple[str, str], ...]]


def scrape(url: str) -> dict[Sample, float]:
    """Every sample, by name and labels."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports."""
    for first in range(21_000, 60_000, 97):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def test_a_scrape_shows_what_a_session_does(live: Live) -> None:
    """Counters of committed events, gauges of owned partitions, and a histogram per stage."""
    good, bad = live.photo("good.jpg", jpeg(noisy(80, 60, 1))), live.photo("bad.jpg", b"<html>")
    partitions = live.stream.partitions()
    port = free_ports(2)
    with (
        Working(live, "one", sessions=2, metrics_port=port) as one,
        Working(live, "two", sessions=2, metrics_port=port, lease_ttl_s=2.0) as two,
    ):
        urls = {session.session.metrics_url for session in (one, two)}
        assert urls == {f"http://127.0.0.1:{n}/metrics" for n in (port, port + 1)}
        until(lambda: one.partitions and two.partitions)
        live.publish(*(ad(str(n), [good]) for n in range(10)))
        live.publish(*(ad(f"bad-{n}", [good, bad]) for n in range(3)), ad("empty", []))
        live.publish(b"nonsense", key=b"kg/0")
        one.wait_for(14)

        def total(name: str, **labels: str) -> float:
            key = (name, tuple(sorted(labels.items())))
            return sum(samples.get(key, 0.0) for samples in map(scrape, urls))

        until(lambda: total("lalafo_ad_latency_seconds_count") == 14)
        until(lambda: total("lalafo_events_total", outcome="dead_letter") == 1)
        assert total("lalafo_events_total", outcome="scored") == 13
        assert total("lalafo_events_total", outcome="no_photos") == 1
        assert total("lalafo_photos_total") == 16
        failures = {"kind": "event", "reason": "event_not_json"}
        assert total("lalafo_failures_total", **failures) == 1
        failed = live.rows("SELECT DISTINCT reason FROM lalafo.failures WHERE kind = 'photo'")
        ((reason,),) = failed
        assert total("lalafo_failures_total", kind="photo", reason=reason) == 3
        for stage in STAGES:
            assert total("lalafo_stage_seconds_count", stage=stage) == 14
        assert total("lalafo_commit_ads_sum") == 14
        for number in partitions:
            of = str(number)
            owners = [
                url
                for url in urls
                if ("lalafo_partition_epoch", (("partition", of),)) in scrape(url)
            ]
            assert len(owners) == 1, f"partition {of} is read by {owners}"
            assert total("lalafo_lag_events", partition=of) == 0
        committed = {str(p): end for p, end in live.stream.end_offsets().items() if end > 0}
        for of, end in committed.items():
            assert total("lalafo_committed_offset", partition=of) == end
        for what in ("events", "photos", "ads_at_photos", "ads_at_model", "batches_at_commit"):
            until(lambda what=what: total("lalafo_in_flight", what=what) == 0)
        assert all(scrape(url)["lalafo_resident_bytes", ()] > 2**20 for url in urls)
        assert all(scrape(url)["lalafo_database_connections", ()] >= 3 for url in urls)
    with pytest.raises(OSError):
        scrape(urls.pop())


def test_a_committed_offset_is_shown_only_under_the_lease_of_its_commit() -> None:
    """A partition that came back was moved on by another session meanwhile."""
    epochs = {0: 1, 1: 1}
    result = CommitResult(accepted={}, committed_at=datetime.now(UTC))
    with SessionMetrics(Settings(metrics_port=0)) as metrics:
        metrics.watch(lambda: Snapshot(dict(epochs), 0, 0, 0, 0, 0, {}, {}), dict)
        commit = metrics.following(lambda *_: None)

        def shown(partition: int) -> float | None:
            labels = {"partition": str(partition)}
            return metrics.registry.get_sample_value("lalafo_committed_offset", labels)

        commit(Batch(("r1",), next_offsets={0: 5, 1: 7}), result)
        assert (shown(0), shown(1)) == (5, 7)
        del epochs[1]
        assert (shown(0), shown(1)) == (5, None)
        epochs[1] = 3
        assert (shown(0), shown(1)) == (5, None)
        commit(Batch(("r1",), next_offsets={1: 20}), result)
        assert (shown(0), shown(1)) == (5, 20)


def test_without_a_port_nothing_is_served() -> None:
    """With port 0, no port is opened."""
    with SessionMetrics(Settings(metrics_port=0)) as metrics:
        assert metrics.url == ""


def test_without_a_free_port_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tried port is in use: the error names the setting to change."""
    monkeypatch.setattr("resources.processes.metrics_server.PORTS_TRIED", 1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=f"LALAFO_METRICS_PORT={port}"),
            SessionMetrics(Settings(metrics_port=port)),
        ):
            pass
    assert PORTS_TRIED > 1
