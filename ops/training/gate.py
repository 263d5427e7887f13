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
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.training.evaluation import evaluate

ACCURACY, RECALL, CALIBRATION, COST = "accuracy", "recall", "calibration", "cost"
MEASURES = (ACCURACY, RECALL, CALIBRATION, COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse a candidate may be: shares of photos, or factors where the name says so."""

    accuracy: float = 0.01
    recall: float = 0.10
    calibration: float = 0.03
    latency_factor: float = 1.5
    memory_factor: float = 2.0
    min_photos: int = 20  # held-out photos that a category's recall, and a task, is judged by


@dataclass(frozen=True, slots=True)
class Judged:
    """The measures of one release on the held-out labels.

    `tasks`: by task, the measures of `ops.training.evaluation.evaluate` over every label that
    occurs. A task without held-out labels has None, and a task that the release has no head for is
    missing.
    """

    name: str
    tasks: Mapping[str, Mapping[str, Any] | None]
    latency_ms: float | None  # per photo, of the backbone; None: not measured, both share it
    memory_mb: float  # of the weights


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one measure."""

    measure: str
    why: tuple[str, ...]  # what is worse than its margin; empty: it passed
    message: str  # the comparison in one line
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the measure is within its margin."""
        return not self.why


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's verdict on a candidate."""

    name: str
    against: str | None  # the name of the live release; None where there was none
    findings: tuple[Finding, ...]
    judged_at: datetime
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON

    @property
    def passed(self) -> bool:
        """Whether every measure passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def why(self) -> tuple[str, ...]:
        """The reasons for failure, of all measures."""
        return tuple(reason for finding in self.findings for reason in finding.why)

    def finding(self, measure: str) -> Finding:
        """The finding of one measure."""
        return next(finding for finding in self.findings if finding.measure == measure)

    def as_json(self) -> dict[str, Any]:
        """The JSON that is stored in `releases.gate`."""
        return {
            "passed": self.passed,
            "against": self.against,
            "why": list(self.why),
            "figures": {f.measure: dict(f.figures) for f in self.findings},
            "messages": {f.measure: f.message for f in self.findings},
            "notes": list(self.notes),
            "details": dict(self.details),
            "judged_at": self.judged_at.isoformat(),
        }


def judge(
    candidate: Judged,
    live: Judged,
    margins: Margins,
    *,
    judged_at: datetime,
    notes: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> Verdict:
    """Compare a candidate with the live release; a difference of exactly the margin passes."""
    return Verdict(
        name=candidate.name,
        against=live.name,
        findings=(
            _accuracy(candidate, live, margins),
            _recall(candidate, live, margins),
            _calibration(candidate, live, margins),
            _cost(candidate, live, margins),
        ),
        judged_at=judged_at,
        notes=tuple(notes),
        details={} if details is None else details,
    )


def nothing_to_compare(name: str, *, judged_at: datetime) -> Verdict:
    """The verdict on a first release, where no release is live."""
    findings = tuple(
        Finding(measure, (), "no release is live: there is nothing to compare with")
        for measure in MEASURES
    )
    return Verdict(name, None, findings, judged_at)


def measures_over(
    probabilities: NDArray[np.float32],
    labels: Sequence[str],
    truth: Sequence[str],
    every_label: Sequence[str],
) -> dict[str, Any]:
    """Call `evaluate` over every label; labels that a head lacks have the probability 0.

    Args:
        probabilities: (N, C), columns as `labels`, which are all in `every_label`.
        truth: N labels of `every_label`.
    """
    wide = np.zeros((len(probabilities), len(every_label)), np.float32)
    columns = {label: column for column, label in enumerate(every_label)}
    wide[:, [columns[label] for label in labels]] = probabilities
    return evaluate(wide, truth, every_label)


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
        message.append(f"{task}: {new:.1%} against {old:.1%}, on {count} held-out photos")
        margin = max(margins.accuracy, 1 / count)
        if _exceeds(old - new, margin):
            why.append(
                f"accuracy of '{task}' fell from {old:.3f} to {new:.3f}, more than {margin:.3f} "
                f"({count} held-out photos)"
            )
    if not figures and not why:
        why.append("nothing is held out to judge the candidate by: label more ads")
    return Finding(ACCURACY, tuple(why), "; ".join(message) or "; ".join(why), figures)


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
    )
    if worst is not None:
        message += f"; the largest loss or smallest gain: {worst[1]}"
    figures: dict[str, float] = {"categories judged": judged, "categories with too few": few}
    return Finding(RECALL, tuple(why), message, figures)


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
        new, old = of_candidate["calibration_error"], of_live["calibration_error"]
        figures |= {f"{task}": new, f"{task} (live)": old}
        message.append(f"{task}: calibration error of {new:.3f} against {old:.3f}")
        margin = max(margins.calibration, 0.5 / math.sqrt(of_candidate["count"]))
        if _exceeds(new - old, margin):
            why.append(
                f"calibration error of '{task}' rose from {old:.3f} to {new:.3f}, more than "
                f"{margin:.3f} ({of_candidate['count']} held-out photos)"
            )
    return Finding(CALIBRATION, tuple(why), "; ".join(message) or "nothing to compare", figures)


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
