"""The gate: a candidate passes exactly at each margin, and fails beyond it with a reason."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ops.models.categories.tree import Thresholds
from ops.tasks import Margin
from ops.training.gate import judge, measures_over, nothing_to_compare
from ops.training.verdict import MEASURES, Judged, Margins

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
    """Measures like those of `evaluate`, with recalls as (photos, share)."""
    by_label = {"sofas": (100, 0.8), "lamps": (80, 0.8), "rugs": (10, 0.8), **recalls}
    return {
        "count": count,
        "accuracy": accuracy,
        "calibration_error": calibration,
        "per_category": {
            label: {"count": of, "recall": share, "precision": None}
            for label, (of, share) in by_label.items()
        },
    }


LIVE = Judged("live", {"category": measures()}, latency_ms=2.0, memory_mb=10.0)


def verdict(live=LIVE, margins=MARGINS, **changes):
    """The verdict on a candidate that equals the live release except for these changes."""
    candidate = replace(LIVE, name="new", **changes)
    return judge(candidate, live, margins, judged_at=NOW)


def test_an_equal_candidate_passes():
    """No measure is worse; the JSON of the verdict has the keys that `propose` reads."""
    passed = verdict()
    assert passed.passed
    stored = passed.as_json()
    assert stored["passed"] is True
    assert stored["against"] == "live"
    assert stored["why"] == []
    assert stored["judged_at"] == "2026-05-01T00:00:00+00:00"
    assert set(stored["figures"]) == set(stored["messages"]) == set(MEASURES)


def test_fine_tuning_must_be_better():
    """Than the same backbone as it was, on the same photos; it costs new embeddings of all."""
    assert verdict(fine_tuned={"category": (0.81, 0.8)}).passed
    for tuned in (0.8, 0.7):
        (reason,) = verdict(fine_tuned={"category": (tuned, 0.8)}).why
        assert reason.startswith("fine-tuning did not help 'category'")


def test_a_tree_is_measured_at_each_level():
    """Beside the live release where that has levels; the categories alone are judged."""
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]] * 20, np.float32)
    labels = ("a/x", "a/y", "b")
    of_tree = measures_over(p, labels, ["a/x"] * 40, [*labels, "c"], Thresholds(0.65, 0.65))
    assert [level["accuracy"] for level in of_tree["levels"]] == [1.0, 0.5]
    found = verdict(tasks={"category": of_tree}, live=replace(LIVE, tasks={"category": of_tree}))
    finding = found.finding("accuracy")
    assert "at level 1 100.0% against 100.0%" in finding.message
    assert finding.figures["category level 1"] == 1.0
    assert finding.figures["category answered"] == 1.0
    assert finding.figures["category right"] == 0.5
    assert "level" not in verdict().finding("accuracy").message


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
            "a photo takes 3.10 ms, with the live release 2.00 ms: more than 1.5 times as long",
        ),
        (
            "cost",
            {"memory_mb": 20.0},
            {"memory_mb": 20.5},
            "its weights take 20.5 MB, the live ones 10.0 MB: more than 2 times as much",
        ),
    ],
)
def test_each_margin_on_both_sides(measure, within, beyond, words):
    """Worse by exactly the margin passes; by more, only that measure fails, with its reason."""
    assert verdict(**within).passed
    failed = verdict(**beyond)
    assert not failed.passed
    assert failed.why == (words,)
    assert [f.measure for f in failed.findings if not f.passed] == [measure]
    assert failed.as_json()["passed"] is False


def test_a_better_candidate_passes():
    """It is faster, smaller, more accurate and better calibrated."""
    better = measures(accuracy=0.99, calibration=0.0, sofas=(100, 1.0))
    assert verdict(tasks={"category": better}, latency_ms=0.1, memory_mb=1.0).passed


def test_a_rare_category_is_not_judged_by_its_recall():
    """Ten photos are too few: the finding has the number of such categories."""
    found = verdict(tasks={"category": measures(rugs=(10, 0.0))})
    assert found.passed
    assert "1 have fewer than 20" in found.finding("recall").message
    few = replace(MARGINS, min_photos=10)
    assert not verdict(margins=few, tasks={"category": measures(rugs=(10, 0.0))}).passed


def test_one_photo_is_not_a_regression():
    """With forty photos one more mistake passes and two do not; calibration is as uncertain."""
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
    """A candidate without a category of the live release fails, whatever its accuracy."""
    lost = measures(accuracy=0.9)
    del lost["per_category"]["lamps"]
    assert verdict(tasks={"category": lost}).why == (
        "recall of 'lamps' fell from 0.80 to 0.00, more than 0.10 (80 held-out photos)",
    )


def test_a_lost_task_fails_and_a_new_one_passes():
    """Consumers must get every task that they got before; more tasks are allowed."""
    both = replace(LIVE, tasks={"category": measures(), "price": measures()})
    assert verdict(live=both).why == ("it has no head for the task 'price', which live has",)
    assert verdict(tasks={"category": measures(), "price": measures()}).passed


def test_too_few_held_out_photos_fail():
    """With no or too few held-out photos the candidate does not pass."""
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


def test_a_measure_that_judged_nothing_has_no_tick():
    """Too few photos of every category, or of the task: neither passed nor failed."""
    small = {"category": {**measures(count=19), "per_category": {}}}
    live = replace(LIVE, tasks=small)
    found = judge(replace(live, name="new"), live, MARGINS, judged_at=NOW)
    marks = {finding.measure: finding.mark for finding in found.findings}
    assert marks == {
        **{"accuracy": "✗", "recall": "-", "calibration": "-"},
        **{"own_measures": "✓", "cost": "✓"},
    }
    assert found.as_json()["not_judged"] == ["recall", "calibration"]
    assert "not judged" in found.finding("recall").message
    assert "19 held-out photos are fewer than 20" in found.finding("calibration").message
    whole = verdict()
    assert {finding.mark for finding in whole.findings} == {"✓"}
    assert whole.as_json()["not_judged"] == []


def test_a_difference_within_the_interval_may_be_chance():
    """18 of 24 has an interval from 55.1 to 88.0 %; 60 % lies within it, 40 % does not."""

    def message(new, old):
        live = replace(LIVE, tasks={"category": measures(accuracy=old, count=24)})
        tasks = {"category": measures(accuracy=new, count=24)}
        return verdict(live=live, tasks=tasks).finding("accuracy").message

    assert message(0.75, 0.60).endswith(
        "(95% interval 55.1 to 88.0%; the difference may be chance)"
    )
    assert message(0.75, 0.40).endswith("(95% interval 55.1 to 88.0%)")
    assert "chance" not in message(0.75, 0.75)


def test_a_shared_backbone_has_no_latency_to_compare():
    """Heads alone do not change the latency."""
    live = replace(LIVE, latency_ms=None)
    found = judge(replace(live, name="new"), live, MARGINS, judged_at=NOW)
    assert found.passed
    assert "the backbone is the same" in found.finding("cost").message


def test_a_first_release_passes():
    """There is no release to compare it with, and the verdict says so."""
    found = nothing_to_compare("first", judged_at=NOW)
    assert found.passed
    assert found.against is None
    assert "nothing to compare with" in found.findings[0].message
    assert {finding.mark for finding in found.findings} == {"-"}
    assert found.not_judged == MEASURES


def test_a_label_that_a_head_lacks_is_a_mistake():
    """Both releases are evaluated on the same photos, also on those of an unknown label."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    found = measures_over(probabilities, ("b", "c"), ["b", "c", "a"], ["a", "b", "c"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["per_category"]["a"] == {"count": 1, "recall": 0.0, "precision": None}
    assert found["per_category"]["b"]["recall"] == 1.0


PRICES = {
    "mape": Margin(worse_by=0.02),
    "coverage": Margin(worse_by=0.05, least=0.72, higher_is_better=True),
}


def prices(count=10_000, **measures):
    return {"price": {"count": count, "mape": 0.2, "coverage": 0.8, **measures}}


def own(new, old):
    """The finding on a task's own measures."""
    live = replace(LIVE, of_ads=old)
    candidate = replace(LIVE, name="new", of_ads=new)
    found = judge(candidate, live, MARGINS, judged_at=NOW, own_margins={"price": PRICES})
    return found.finding("own_measures")


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ({}, ()),
        ({"mape": 0.22}, ()),
        ({"mape": 0.221}, ("mape of 'price' went from 0.200 to 0.221, more than 0.020 worse",)),
        ({"mape": 0.1}, ()),
        ({"coverage": 0.75}, ()),
        (
            {"coverage": 0.7},
            (
                "coverage of 'price' is 0.700, below 0.720 by more than chance",
                "coverage of 'price' went from 0.800 to 0.700, more than 0.050 worse",
            ),
        ),
        ({"coverage": 1.0}, ()),
        ({"mape": None}, ("mape of 'price' can't be measured; live: 0.200",)),
    ],
)
def test_a_tasks_own_measures_have_its_own_margins(new, why):
    """To each side of the margin; better is never a reason."""
    found = own(prices(**new), prices())
    assert found.why == why
    assert found.figures["price coverage (live)"] == 0.8


def test_a_tasks_own_measures_of_few_ads_may_be_chance():
    """Of 100 ads a share is uncertain by 0.05: 0.04 more is no regression; 0.6 is below 0.72."""
    assert own(prices(100, mape=0.24), prices(100)).passed
    assert not own(prices(100, mape=0.26), prices(100)).passed
    assert own(prices(100, coverage=0.75), prices(100)).passed
    (why, _) = own(prices(100, coverage=0.6), prices(100)).why
    assert "below 0.720" in why
    few = own(prices(19, mape=0.9), prices(19))
    assert (few.mark, few.message) == ("-", "price: not judged, 19 held-out ads are fewer than 20")


def test_a_task_that_learns_from_ads_may_be_added_and_not_lost():
    """The first release with it is judged by the bounds alone."""
    assert own(prices(), {}).mark == "✓"
    assert own(prices(coverage=0.6), {}).mark == "✗"
    assert own({}, prices()).why == ("it has no head for the task 'price', which live has",)
    assert own({}, {}).mark == "✓"


def test_masks_are_judged_by_photos():
    """F of masks by people; a task that the live release lacks has its bounds alone."""
    margins = {"segments": {"f": Margin(worse_by=0.02, higher_is_better=True)}}
    masks = {"segments": {"count": 10_000, "of": "photos", "f": 0.9, "mae": 0.05}}

    def found(new, old):
        candidate = replace(LIVE, name="new", of_ads={"segments": {**masks["segments"], **new}})
        live = replace(LIVE, of_ads=old)
        verdict = judge(candidate, live, MARGINS, judged_at=NOW, own_margins=margins)
        return verdict.finding("own_measures")

    assert found({"f": 0.88}, masks).passed
    assert "on 10000 held-out photos" in found({}, masks).message
    assert found({"f": 0.87}, masks).why == (
        "f of 'segments' went from 0.900 to 0.870, more than 0.020 worse",
    )
    assert found({"f": 0.2}, {}).passed
    few = found({"count": 3, "f": 0.1}, masks)
    assert few.passed and "3 held-out photos are fewer" in few.message
