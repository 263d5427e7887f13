"""The gate: just within each margin passes, beyond it is refused in words with numbers."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ops.training.gate import MEASURES, Judged, Margins, judge, measures_over, nothing_to_compare

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MARGINS = Margins(
    accuracy=0.02,
    recall=0.1,
    calibration=0.03,
    latency_factor=1.5,
    memory_factor=2.0,
    min_photos=20,
)


def measures(accuracy=0.8, calibration=0.05, count=1_000, **recalls):
    """What `evaluate` gives, with these recalls of (photos, share)."""
    given = {"sofas": (100, 0.8), "lamps": (80, 0.8), "rugs": (10, 0.8), **recalls}
    return {
        "count": count,
        "accuracy": accuracy,
        "calibration_error": calibration,
        "per_category": {
            label: {"count": of, "recall": share, "precision": None}
            for label, (of, share) in given.items()
        },
    }


LIVE = Judged("live", {"category": measures()}, latency_ms=2.0, memory_mb=10.0)


def verdict(live=LIVE, margins=MARGINS, **changes):
    """Of a candidate that is as the live one but for these."""
    candidate = replace(LIVE, name="new", **changes)
    return judge(candidate, live, margins, judged_at=NOW)


def test_an_equal_candidate_passes():
    """No measure is worse; the verdict is JSON with what `propose` reads."""
    found = verdict()
    assert found.passed
    message = found.as_json()
    assert message["passed"] is True
    assert message["against"] == "live"
    assert message["why"] == []
    assert message["judged_at"] == "2026-05-01T00:00:00+00:00"
    assert set(message["figures"]) == set(MEASURES)


@pytest.mark.parametrize(
    ("measure", "within", "beyond", "words"),
    [
        (
            "accuracy",
            {"tasks": {"category": measures(accuracy=0.78)}},
            {"tasks": {"category": measures(accuracy=0.775)}},
            "accuracy of 'category' fell from 0.800 to 0.775, more than 0.020 "
            "(1000 held-out photos)",
        ),
        (
            "recall",
            {"tasks": {"category": measures(sofas=(100, 0.7))}},
            {"tasks": {"category": measures(sofas=(100, 0.62))}},
            "recall of 'sofas' fell from 0.80 to 0.62, more than 0.10 (100 held-out photos)",
        ),
        (
            "calibration",
            {"tasks": {"category": measures(calibration=0.08)}},
            {"tasks": {"category": measures(calibration=0.085)}},
            "calibration error of 'category' rose from 0.050 to 0.085, more than 0.030 "
            "(1000 held-out photos)",
        ),
        (
            "cost",
            {"latency_ms": 3.0},
            {"latency_ms": 3.1},
            "a photo takes 3.10 ms, 2.00 ms before: more than 1.5 times as long",
        ),
        (
            "cost",
            {"memory_mb": 20.0},
            {"memory_mb": 20.5},
            "its weights take 20.5 MB, 10.0 MB before: more than 2 times as much",
        ),
    ],
)
def test_each_margin_on_both_sides(measure, within, beyond, words):
    """Worse by just the margin passes; by more, that measure alone refuses, and says so."""
    assert verdict(**within).passed
    refused = verdict(**beyond)
    assert not refused.passed
    assert refused.why == (words,)
    assert [f.measure for f in refused.findings if not f.passed] == [measure]
    assert refused.as_json()["passed"] is False


def test_better_is_never_refused():
    """Faster, smaller, righter, surer of it."""
    better = measures(accuracy=0.99, calibration=0.0, sofas=(100, 1.0))
    assert verdict(tasks={"category": better}, latency_ms=0.1, memory_mb=1.0).passed


def test_a_rare_category_is_not_judged_by_its_recall():
    """Ten photos say little: the check says how many categories that was."""
    found = verdict(tasks={"category": measures(rugs=(10, 0.0))})
    assert found.passed
    assert "1 have fewer than 20" in found.finding("recall").message
    few = replace(MARGINS, min_photos=10)
    assert not verdict(margins=few, tasks={"category": measures(rugs=(10, 0.0))}).passed


def test_one_photo_is_no_fall():
    """Of forty photos one more mistake is chance, two are not; scores of so few are as rough."""
    margins = replace(MARGINS, accuracy=0.01)
    live = replace(LIVE, tasks={"category": measures(accuracy=32 / 40, count=40)})

    def found(right, calibration=0.05):
        task = measures(accuracy=right / 40, count=40, calibration=calibration)
        return verdict(live=live, margins=margins, tasks={"category": task})

    assert found(31).passed
    assert "more than 0.025 (40 held-out photos)" in found(30).why[0]
    assert found(32, calibration=0.05 + 0.079).passed
    assert "more than 0.079" in found(32, calibration=0.05 + 0.0795).why[0]


def test_a_lost_category_has_a_recall_of_zero():
    """A taxonomy that lacks what readers know is refused, whatever the accuracy."""
    lost = measures(accuracy=0.9)
    del lost["per_category"]["lamps"]
    assert verdict(tasks={"category": lost}).why == (
        "recall of 'lamps' fell from 0.80 to 0.00, more than 0.10 (80 held-out photos)",
    )


def test_a_lost_task_is_refused_and_a_new_one_is_not():
    """What readers read must go on; more may come."""
    both = replace(LIVE, tasks={"category": measures(), "price": measures()})
    assert verdict(live=both).why == ("it has no head for the task 'price', which live has",)
    assert verdict(tasks={"category": measures(), "price": measures()}).passed


def test_too_little_to_judge_by_is_no_pass():
    """Nothing held out, or next to nothing: the gate stays shut."""
    little = {"category": measures(count=19)}
    found = judge(
        replace(LIVE, name="new", tasks=little), replace(LIVE, tasks=little), MARGINS, judged_at=NOW
    )
    assert "only 19 held-out photos" in found.why[0]
    nothing = {"category": None}
    found = judge(
        replace(LIVE, name="new", tasks=nothing),
        replace(LIVE, tasks=nothing),
        MARGINS,
        judged_at=NOW,
    )
    assert not found.passed
    assert "nothing is held out" in found.why[0]


def test_a_shared_backbone_has_nothing_to_measure():
    """Heads alone change neither time nor, to speak of, memory."""
    live = replace(LIVE, latency_ms=None)
    found = judge(replace(live, name="new"), live, MARGINS, judged_at=NOW)
    assert found.passed
    assert "the backbone is the same" in found.finding("cost").message


def test_a_first_release_passes():
    """There is nothing to compare it with, and the verdict says so."""
    found = nothing_to_compare("first", judged_at=NOW)
    assert found.passed
    assert found.against is None
    assert "nothing to compare with" in found.findings[0].message


def test_a_label_that_a_head_lacks_is_a_mistake():
    """Both are judged on the same photos, also on those of a label that one does not know."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    found = measures_over(probabilities, ("b", "c"), ["b", "c", "a"], ["a", "b", "c"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["per_category"]["a"] == {"count": 1, "recall": 0.0, "precision": None}
    assert found["per_category"]["b"]["recall"] == 1.0
