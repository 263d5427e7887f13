"""The records of the release gate: margins, measures of a release, findings and the verdict.

Owns what a verdict says and how it is stored; `gate.py` computes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ACCURACY, RECALL, CALIBRATION, COST = "accuracy", "recall", "calibration", "cost"
OWN = "own_measures"
"""The measures that tasks define themselves, with margins of their own."""

MEASURES = (ACCURACY, RECALL, CALIBRATION, OWN, COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse a candidate may be: shares of photos, or factors where the name says so.

    `min_photos`: held-out photos that a category's recall, and a task, is judged by; for a task
    that learns from ads, held-out ads.
    """

    accuracy: float = 0.01
    recall: float = 0.10
    calibration: float = 0.03
    latency_factor: float = 1.5
    memory_factor: float = 2.0
    min_photos: int = 20


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
    fine_tuned: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where its backbone was fine-tuned: by task, the accuracy on the held-out photos of its own
    training set, and that of the backbone as it was before."""
    of_ads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By task with measures of its own: those on the held-out ads, or on what `of` names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one measure."""

    measure: str
    why: tuple[str, ...]  # what is worse than its margin; empty: it passed
    message: str  # the comparison in one line
    figures: Mapping[str, float] = field(default_factory=dict)
    judged: bool = True  # False: there was nothing, or too little, to compare

    @property
    def passed(self) -> bool:
        """Whether the measure is within its margin."""
        return not self.why

    @property
    def mark(self) -> str:
        """✓, ✗, or - for a measure that was not judged."""
        return "✗" if self.why else "✓" if self.judged else "-"


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

    @property
    def not_judged(self) -> tuple[str, ...]:
        """The measures that passed because there was nothing, or too little, to compare."""
        return tuple(f.measure for f in self.findings if f.passed and not f.judged)

    def finding(self, measure: str) -> Finding:
        """The finding of one measure."""
        return next(finding for finding in self.findings if finding.measure == measure)

    def as_json(self) -> dict[str, Any]:
        """The JSON that is stored in `releases.gate`."""
        return {
            "passed": self.passed,
            "against": self.against,
            "why": list(self.why),
            "not_judged": list(self.not_judged),
            "figures": {f.measure: dict(f.figures) for f in self.findings},
            "messages": {f.measure: f.message for f in self.findings},
            "notes": list(self.notes),
            "details": dict(self.details),
            "judged_at": self.judged_at.isoformat(),
        }
