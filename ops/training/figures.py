"""Says an accuracy in words: its confidence interval, the chance level, a baseline that is better.

Owns what "chance" means: an accuracy whose interval includes the chance level. That level is the
share of the most frequent label, which a classifier reaches without looking at a photo (the "no
information rate" of R's caret).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Z_95 = 1.959964  # of the normal distribution: 95 % lie within so many standard deviations


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A number of right answers of a number of photos (or ads), beside the chance level."""

    right: int
    count: int  # at least 1
    chance: float  # in [0, 1]

    @classmethod
    def of(cls, measures: Mapping[str, Any]) -> "Accuracy":
        """The accuracy from the measures of `ops.training.evaluation.evaluate`."""
        count = int(measures["count"])
        return cls(
            round(float(measures["accuracy"]) * count), count, float(measures["majority_accuracy"])
        )

    @property
    def share(self) -> float:
        """The accuracy, in [0, 1]."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval, in [0, 1]."""
        return wilson_interval(self.right, self.count)

    @property
    def may_be_chance(self) -> bool:
        """Whether so few photos can't show that it is better than the chance level."""
        return self.interval[0] <= self.chance

    def __str__(self) -> str:
        low, high = (f"{100 * bound:.1f}" for bound in self.interval)
        text = f"{self.share:.1%} of {self.count}, 95% interval {low} to {high}%"
        return f"{text}; may be chance, which is {self.chance:.1%}" if self.may_be_chance else text


def wilson_interval(right: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a share, in [0, 1]; usable for few photos and for shares of 0 and 1.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    Journal of the American Statistical Association 22 (1927).

    Raises:
        ValueError: `count` is not positive, or `right` is not within 0 and `count`.
    """
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count} is no share")
    share, square = right / count, z * z
    centre = share + square / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    scale = 1 + square / count
    # A share of 0 or 1 is a bound of its own interval: the rounding error is cut off.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def why_behind(
    accuracy: Accuracy, baselines: Mapping[str, float], fit: Mapping[str, Any]
) -> str | None:
    """Why scikit-learn's logistic regression is right more often; None where it is not.

    Args:
        baselines: accuracies by name, on the same photos, of which it may be one.
        fit: how the head was chosen (`JudgedTask.fit`).
    """
    baseline = baselines.get("logistic_regression_accuracy")
    ahead = 0 if baseline is None else round(baseline * accuracy.count) - accuracy.right
    if baseline is None or ahead <= 0:
        return None
    photos = "1 photo" if ahead == 1 else f"{ahead} photos"
    low, high = accuracy.interval
    reasons = [
        "that regression is the better of two, chosen on these photos; this head saw none of them"
    ]
    kept = float(fit.get("share_of_live_head", 0.0))
    if kept > 0:
        reasons.append(f"{kept:.0%} of it is the live head, which was fitted on other photos")
    reasons.append("it is fitted for calibrated scores, not for the most right answers")
    if low <= baseline <= high:
        reasons.insert(0, "within the interval, so it may be chance")
    return f"behind scikit-learn's by {photos} of {accuracy.count}: {'; '.join(reasons)}"
