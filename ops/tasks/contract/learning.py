"""What a task learns from whole ads, how it is judged on others, and how much worse it may get.

Owns the interface of tasks whose truth is no label but something that the seller wrote, such as the
price. Tasks that learn from labels have `fit` (`task.py`) and the measures of a classifier.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ops.models.task_head import TaskHead
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.inputs import Ad, AdFields

LearnsFrom = Callable[[AdFields], bool]
"""Whether a task can learn from an ad with these fields, and be judged on it."""


class FitAds(Protocol):
    """Fits a task's head to ads; imports its dependencies (torch) when it is called."""

    def __call__(
        self, ads: Sequence[Ad], *, groups: Sequence[str], seed: int = 0
    ) -> tuple[TaskHead, dict[str, Any]]:
        """Fit a head; returns it with JSON metrics of the fit.

        Args:
            ads: with embeddings and fields; without other tasks' answers.
            groups: N; ads of one group are near duplicates, or share photos: they are validated
                together.

        Raises:
            ConfigurationError: no head can be fitted to these ads; the message says why.
        """


Judge = Callable[[Sequence[Answer], Sequence[Ad]], Mapping[str, Any]]
"""Measures of answers to held-out ads, as JSON: `count`, the number of ads that were judged, and
numbers by name, of which `margins` names those that the gate compares. A measure may be None where
nothing can be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What the gate requires of a measure: how much worse than the live release's it may be, and
    its bounds, which hold without a live release too. `higher_is_better`: which way is worse."""

    worse_by: float | None = None
    least: float | None = None
    most: float | None = None
    higher_is_better: bool = False
