"""The metric of internal errors: a series for each stage, and none without a fault."""

from prometheus_client import generate_latest

from ops.session.pipeline import Snapshot
from resources.sessions.metrics import SessionMetrics
from resources.settings import Settings


def scraped(errors: dict[str, int]) -> list[str]:
    metrics = SessionMetrics(Settings())
    metrics.watch(lambda: Snapshot({}, 0, 0, 0, 0, 0, {}, errors), dict)
    text = generate_latest(metrics.registry).decode()
    return [line for line in text.splitlines() if line.startswith("lalafo_internal_errors")]


def test_internal_errors_are_counted_by_stage() -> None:
    """As a counter, so that an alert can use its increase."""
    assert scraped({}) == []
    assert scraped({"model": 3, "commit": 1}) == [
        'lalafo_internal_errors_total{stage="model"} 3.0',
        'lalafo_internal_errors_total{stage="commit"} 1.0',
    ]
