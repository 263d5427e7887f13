"""The release gate: whether a candidate may replace the live release.

Owns the comparison of both releases, and the text of its findings. Does not depend on where the
measures come from. A candidate fails where it is worse than the live release by more than a margin.
Both releases are evaluated on the same held-out labels; photos of a category that a release does
not know count as wrong. With few photos a small difference is chance: one photo more or less is
not a regression of accuracy or recall, and a calibration error is uncertain by 0.5 / sqrt(photos)
(the maximum of a share's standard error). Margins are therefore at least that large.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.models.categories.measures import tree_measures
from ops.models.categories.tree import Thresholds
from ops.tasks.contract.learning import Margin
from ops.training.evaluation import evaluate
from ops.training.figures import wilson_interval
from ops.training.verdict import (
    ACCURACY,
    CALIBRATION,
    COST,
    MEASURES,
    OWN,
    RECALL,
    Finding,
    Judged,
    Margins,
    Verdict,
)


def judge(
    candidate: Judged,
    live: Judged,
    margins: Margins,
    *,
    judged_at: datetime,
    notes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    own_margins: Mapping[str, Mapping[str, Margin]] | None = None,
) -> Verdict:
    """Compare a candidate with the live release; a difference of exactly the margin passes.

    Args:
        own_margins: by task that learns from ads: the margins of its measures.
    """
    return Verdict(
        name=candidate.name,
        against=live.name,
        findings=(
            _accuracy(candidate, live, margins),
            _recall(candidate, live, margins),
            _calibration(candidate, live, margins),
            _own(candidate, live, margins, {} if own_margins is None else own_margins),
            _cost(candidate, live, margins),
        ),
        judged_at=judged_at,
        notes=tuple(notes),
        details={} if details is None else details,
    )


def nothing_to_compare(name: str, *, judged_at: datetime) -> Verdict:
    """The verdict on a first release, where no release is live."""
    findings = tuple(
        Finding(
            measure,
            (),
            "not judged: no release is live, so there is nothing to compare with",
            judged=False,
        )
        for measure in MEASURES
    )
    return Verdict(name, None, findings, judged_at)


def measures_over(
    probabilities: NDArray[np.float32],
    labels: Sequence[str],
    truth: Sequence[str],
    every_label: Sequence[str],
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """Call `evaluate` over every label; labels that a head lacks have the probability 0.

    With the thresholds of a tree, its levels and answers are measured too.

    Args:
        probabilities: (N, C), columns as `labels`, which are all in `every_label`.
        truth: N labels of `every_label`.
    """
    wide = np.zeros((len(probabilities), len(every_label)), np.float32)
    columns = {label: column for column, label in enumerate(every_label)}
    wide[:, [columns[label] for label in labels]] = probabilities
    measures = evaluate(wide, truth, every_label)
    if thresholds is not None:
        measures |= tree_measures(probabilities, truth, tuple(labels), thresholds)
    return measures


def _accuracy(candidate: Judged, live: Judged, margins: Margins) -> Finding:
    why: list[str] = []
    message: list[str] = []
    figures: dict[str, float] = {}
    for task in sorted(live.tasks.keys() | candidate.tasks.keys()):
        if task not in candidate.tasks:
            why.append(f"it has no head for the task '{task}', which {live.name} has")
            continue
        of_candidate, of_live = candidate.tasks[task], live.tasks.get(task)
        if of_live is None:
            message.append(f"{task}: nothing to compare")
            continue
        if of_candidate is None or of_candidate["count"] < margins.min_photos:
            count = 0 if of_candidate is None else of_candidate["count"]
            why.append(
                f"only {count} held-out photos of the task '{task}', fewer than "
                f"{margins.min_photos}: too few to judge it"
            )
            continue
        new, old, count = of_candidate["accuracy"], of_live["accuracy"], of_candidate["count"]
        figures |= {f"{task}": new, f"{task} (live)": old, f"{task} photos": count}
        message.append(
            f"{task}: {new:.1%} against {old:.1%}, on {count} held-out photos "
            f"{_interval(new, old, count)}{_levels(of_candidate, of_live)}"
        )
        figures |= _tree_figures(task, of_candidate)
        margin = max(margins.accuracy, 1 / count)
        if _exceeds(old - new, margin):
            why.append(
                f"accuracy of '{task}' fell from {old:.3f} to {new:.3f}, more than {margin:.3f} "
                f"({count} held-out photos)"
            )
    for task, (tuned, before) in sorted(candidate.fine_tuned.items()):
        message.append(f"{task}: {tuned:.1%} fine-tuned, {before:.1%} before")
        if tuned <= before:
            why.append(
                f"fine-tuning did not help '{task}': {tuned:.3f} against {before:.3f} with the "
                "backbone as it was"
            )
    if not figures and not why:
        why.append("nothing is held out to judge the candidate by: label more ads")
    return Finding(ACCURACY, tuple(why), "; ".join(message) or "; ".join(why), figures)


def _levels(of_candidate: Mapping[str, Any], of_live: Mapping[str, Any]) -> str:
    """The candidate's accuracy at the levels above its categories, beside the live one's."""
    known = {level["depth"]: level["accuracy"] for level in of_live.get("levels", [])}
    return "".join(
        f"; at level {level['depth']} {level['accuracy']:.1%}"
        + (f" against {known[level['depth']]:.1%}" if level["depth"] in known else "")
        for level in of_candidate.get("levels", [])[:-1]
    )


def _tree_figures(task: str, measures: Mapping[str, Any]) -> dict[str, float]:
    figures = {f"{task} level {x['depth']}": x["accuracy"] for x in measures.get("levels", [])}
    answers = measures.get("answers", {})
    return figures | {f"{task} {name}": x for name, x in answers.items() if x is not None}


def _interval(new: float, old: float, count: int) -> str:
    """The new accuracy's confidence interval, and whether the old one lies within it."""
    low, high = wilson_interval(round(new * count), count)
    may_be = "; the difference may be chance" if new != old and low <= old <= high else ""
    return f"(95% interval {100 * low:.1f} to {100 * high:.1f}%{may_be})"


def _recall(candidate: Judged, live: Judged, margins: Margins) -> Finding:
    why: list[str] = []
    judged, few = 0, 0
    worst: tuple[float, str] | None = None
    for label, count, new, old in _recalls(candidate, live):
        if count < margins.min_photos:
            few += 1
            continue
        judged += 1
        change = (new - old, f"'{label}' {old:.2f} to {new:.2f}")
        worst = change if worst is None else min(worst, change)
        margin = max(margins.recall, 1 / count)
        if _exceeds(old - new, margin):
            why.append(
                f"recall of '{label}' fell from {old:.2f} to {new:.2f}, more than {margin:.2f} "
                f"({count} held-out photos)"
            )
    message = (
        f"{judged} categories judged; {few} have fewer than {margins.min_photos} held-out photos"
        if judged > 0
        else f"not judged: each of {few} categories has fewer than {margins.min_photos} held-out "
        "photos"
    )
    if worst is not None:
        message += f"; the largest loss or smallest gain: {worst[1]}"
    figures: dict[str, float] = {"categories judged": judged, "categories with too few": few}
    return Finding(RECALL, tuple(why), message, figures, judged=judged > 0)


def _recalls(candidate: Judged, live: Judged) -> Iterator[tuple[str, int, float, float]]:
    """(label, held-out photos, new recall, old recall) of each label with held-out photos."""
    for task in sorted(live.tasks.keys() & candidate.tasks.keys()):
        of_candidate, of_live = candidate.tasks[task], live.tasks[task]
        if of_candidate is None or of_live is None:
            continue
        for label, old in sorted(of_live["per_category"].items()):
            if old["recall"] is not None:
                new = of_candidate["per_category"].get(label, {}).get("recall")
                yield label, old["count"], 0.0 if new is None else new, old["recall"]


def _calibration(candidate: Judged, live: Judged, margins: Margins) -> Finding:
    why: list[str] = []
    message: list[str] = []
    figures: dict[str, float] = {}
    for task in sorted(live.tasks.keys() & candidate.tasks.keys()):
        of_candidate, of_live = candidate.tasks[task], live.tasks[task]
        if of_candidate is None or of_live is None:
            continue
        if of_candidate["count"] < margins.min_photos:
            message.append(
                f"{task}: not judged, {of_candidate['count']} held-out photos are fewer than "
                f"{margins.min_photos}"
            )
            continue
        new, old = of_candidate["calibration_error"], of_live["calibration_error"]
        figures |= {f"{task}": new, f"{task} (live)": old}
        message.append(f"{task}: calibration error of {new:.3f} against {old:.3f}")
        margin = max(margins.calibration, 0.5 / math.sqrt(of_candidate["count"]))
        if _exceeds(new - old, margin):
            why.append(
                f"calibration error of '{task}' rose from {old:.3f} to {new:.3f}, more than "
                f"{margin:.3f} ({of_candidate['count']} held-out photos)"
            )
    text = "; ".join(message) or "not judged: there is nothing to compare"
    return Finding(CALIBRATION, tuple(why), text, figures, judged=bool(figures))


def _own(
    candidate: Judged,
    live: Judged,
    margins: Margins,
    own_margins: Mapping[str, Mapping[str, Margin]],
) -> Finding:
    why: list[str] = []
    message: list[str] = []
    figures: dict[str, float] = {}
    for task in sorted(live.of_ads.keys() | candidate.of_ads.keys()):
        if task not in candidate.of_ads:
            why.append(f"it has no head for the task '{task}', which {live.name} has")
            continue
        new, old = candidate.of_ads[task], live.of_ads.get(task, {})
        of = new.get("of", "ads")
        if new["count"] < margins.min_photos:
            message.append(
                f"{task}: not judged, {new['count']} held-out {of} are fewer than "
                f"{margins.min_photos}"
            )
            continue
        # Of so few ads a share is uncertain by this much: the maximum of its standard error.
        chance = 0.5 / math.sqrt(new["count"])
        for measure, margin in sorted(own_margins.get(task, {}).items()):
            value, before = new.get(measure), old.get(measure)
            if value is None:
                if before is not None:
                    why.append(f"{measure} of '{task}' can't be measured; live: {before:.3f}")
                continue
            figures[f"{task} {measure}"] = value
            text = f"{task}: {measure} {value:.3f}"
            if before is not None:
                figures[f"{task} {measure} (live)"] = before
                text += f" against {before:.3f}"
            message.append(f"{text} on {new['count']} held-out {of}")
            why += _beyond(f"{measure} of '{task}'", value, before, margin, chance)
    text = "; ".join(message) or "no task has measures of its own"
    return Finding(OWN, tuple(why), text, figures, judged=bool(figures) or not message)


def _beyond(
    what: str, value: float, before: float | None, margin: Margin, chance: float
) -> Iterator[str]:
    """How a measure exceeds its margin; bounds give way by two standard errors."""
    if margin.least is not None and _exceeds(margin.least - 2 * chance, value):
        yield f"{what} is {value:.3f}, below {margin.least:.3f} by more than chance"
    if margin.most is not None and _exceeds(value, margin.most + 2 * chance):
        yield f"{what} is {value:.3f}, above {margin.most:.3f} by more than chance"
    if before is not None and margin.worse_by is not None:
        worse = before - value if margin.higher_is_better else value - before
        limit = max(margin.worse_by, chance)
        if _exceeds(worse, limit):
            yield f"{what} went from {before:.3f} to {value:.3f}, more than {limit:.3f} worse"


def _cost(candidate: Judged, live: Judged, margins: Margins) -> Finding:
    why: list[str] = []
    message = [f"weights of {candidate.memory_mb:.1f} MB against {live.memory_mb:.1f}"]
    figures = {"memory_mb": candidate.memory_mb, "memory_mb (live)": live.memory_mb}
    if _exceeds(candidate.memory_mb, margins.memory_factor * live.memory_mb):
        why.append(
            f"its weights take {candidate.memory_mb:.1f} MB, the live ones "
            f"{live.memory_mb:.1f} MB: more than {margins.memory_factor:g} times as much"
        )
    new, old = candidate.latency_ms, live.latency_ms
    if new is None or old is None:
        message.append("the backbone is the same, and so is the latency")
        return Finding(COST, tuple(why), "; ".join(message), figures)
    message.append(f"{new:.2f} ms per photo against {old:.2f}")
    figures |= {"latency_ms": new, "latency_ms (live)": old}
    if _exceeds(new, margins.latency_factor * old):
        why.append(
            f"a photo takes {new:.2f} ms, with the live release {old:.2f} ms: more than "
            f"{margins.latency_factor:g} times as long"
        )
    return Finding(COST, tuple(why), "; ".join(message), figures)


def _exceeds(value: float, limit: float) -> bool:
    """Whether a value is above a limit by more than the rounding error of shares of photos."""
    return value > limit + 1e-9
