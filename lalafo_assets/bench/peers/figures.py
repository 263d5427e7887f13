"""Computes the figures of `lalafo bench peers` from the moments of stored photos. Pure.

What a framework needs to start its processes and load the model is not counted, because each does
so at another time: the window begins when every process has stored its first photos, and ends with
the last photo.
"""

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from ops.errors import LalafoError


@dataclass(frozen=True, slots=True)
class Stored:
    """Photos that one process stored at one moment, in seconds since 1970 (UTC)."""

    process: str
    at: float
    photos: int


@dataclass(frozen=True, slots=True)
class Window:
    """When all processes of a contender worked, in seconds since 1970 (UTC)."""

    began_at: float
    ended_at: float
    photos: int  # stored after `began_at`

    @property
    def photos_per_s(self) -> float:
        """Photos stored within the window, by its length."""
        return self.photos / (self.ended_at - self.began_at)


def window(stored: Sequence[Stored]) -> Window:
    """The window of one run.

    Raises:
        LalafoError: nothing was stored after every process had begun.
    """
    first: dict[str, float] = {}
    for each in stored:
        first[each.process] = min(first.get(each.process, each.at), each.at)
    began_at = max(first.values(), default=0.0)
    photos = sum(each.photos for each in stored if each.at > began_at)
    if photos == 0:
        raise LalafoError(
            f"{len(first)} processes stored {sum(each.photos for each in stored)} photos, none of "
            "them after all had begun: too few to measure; raise --count"
        )
    return Window(began_at, max(each.at for each in stored), photos)


def cpu_within(samples: Sequence[tuple[float, float]], span: Window) -> float:
    """CPU seconds used within a window, between samples by linear interpolation.

    Args:
        samples: moments and CPU seconds used until then, ascending, at least one.
    """
    return _at(samples, span.ended_at) - _at(samples, span.began_at)


def _at(samples: Sequence[tuple[float, float]], moment: float) -> float:
    after = bisect_left(samples, moment, key=lambda sample: sample[0])
    if after == 0:
        return samples[0][1]
    if after == len(samples):
        return samples[-1][1]
    (early, low), (late, high) = samples[after - 1], samples[after]
    return low + (high - low) * (moment - early) / (late - early)


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run of one contender."""

    photos_per_s: float
    cpu_ms_per_photo: float


def summary(runs: Sequence[Run], product: Sequence[Run]) -> dict[str, object]:
    """Medians over the rounds of one contender; `ratio`: the product's photos a second by its own.

    Args:
        product: the product's runs in the same rounds; empty if it was not measured.
    """
    figures: dict[str, object] = {
        "photos_per_s": round(statistics.median(run.photos_per_s for run in runs), 1),
        "cpu_ms_per_photo": round(statistics.median(run.cpu_ms_per_photo for run in runs), 2),
        "rounds": [round(run.photos_per_s, 1) for run in runs],
    }
    if product:
        ratios = (p.photos_per_s / r.photos_per_s for p, r in zip(product, runs, strict=True))
        figures["ratio"] = round(statistics.median(ratios), 3)
    return figures
