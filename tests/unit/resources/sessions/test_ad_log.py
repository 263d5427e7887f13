"""A session's log lines about single ads."""

from datetime import timedelta

from structlog.testing import capture_logs

from ops.outcomes import CommitResult
from resources.sessions.ad_log import logged
from tests.support.batches import NOON, batch, dead_letter, event, outcome


def test_each_rejected_event_and_each_failed_photo_is_a_line_with_its_offset() -> None:
    """Ad, offset and run are separate fields; ads that changed nothing are not logged."""
    committed = batch(
        outcome(event("1", photos=2), offset=4),
        outcome(event("2", photos=2), offset=5),
        letters=(dead_letter(6),),
    )
    calls = []
    accepted = {committed.ads[0].event.key: NOON.date()}
    result = CommitResult(accepted, NOON + timedelta(milliseconds=40))
    with capture_logs() as lines:
        logged(lambda *arguments: calls.append(arguments), run_id="run-1")(committed, result)
    assert calls == [(committed, result)]
    fields = [(line["event"], line.get("ad"), line["offset"], line["run"]) for line in lines]
    assert fields == [
        ("event.refused", None, 6, "run-1"),
        ("photo.failed", "kg/1", 4, "run-1"),
        ("ad.committed", "kg/1", 4, "run-1"),
    ]
    assert lines[0]["reason"] == "event_not_json"
    assert lines[1]["reason"] == "fetch_timeout"
    assert lines[2]["latency_ms"] == 40.0
