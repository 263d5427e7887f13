"""The price model of one currency: a range in log space, and how it is fitted.

Owns how features, trees and calibration are put together. The middle is a forest for the median of
the log price relative to the category's mean. Low and high are forests for the quantiles of what
the middle leaves, fitted on residuals of ads that it has not seen; what they miss is calibrated by
category (`conformal.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.models.price.conformal import calibrated_node, offsets_by_node, scores
from ops.models.price.features import AdsToPrice, FeatureRows, Features, fit_features
from ops.models.price.means import Path
from ops.models.price.trees import Forest, Growth, Rows, grow

SHARE = 0.8
"""Of the ads, whose price a range is to cover."""

FEW_ADS = 2_000
"""With fewer, means of several forests; with more, one is as good."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LogRange:
    """The natural logarithms of low, middle and high prices (N,); `by`: for each ad the category
    that its range was calibrated on, `()` for all of the currency."""

    low: Values
    middle: Values
    high: Values
    by: list[Path]


@dataclass(frozen=True, slots=True, eq=False)
class PriceModel:
    """What is learned for a currency. `offsets`: of each calibrated node, with its ads."""

    features: Features
    middle: Forest
    low: Forest
    high: Forest
    offsets: Mapping[Path, tuple[float, int]]

    def predict(self, ads: AdsToPrice) -> LogRange:
        """The ranges of ads, in order; an ad's range does not depend on the other ads."""
        made = self.features.of(ads)
        middle = made.base + self.middle.predict(made.rows)
        rows = _with_middle(made, middle)
        by = [calibrated_node(path, self.offsets) for path in ads.paths]
        return _range(middle, self.low.predict(rows), self.high.predict(rows), by, self.offsets)


def fit_model(
    ads: AdsToPrice, log_price: Values, folds: NDArray[np.int64], *, seed: int
) -> tuple[PriceModel, LogRange]:
    """Fit a currency's model; returns it, and the ranges of its ads without their own folds.

    Those ranges are calibrated on the same ads, so that their coverage says little.
    """
    features, made = fit_features(ads, log_price, folds)
    few = len(ads) < FEW_ADS
    of_middle = Growth(bags=3 if few else 1, least=max(5, min(40, len(ads) // 200)))
    of_rest = Growth(
        rounds=40, depth=2, bags=2 if few else 1, least=max(12, min(100, len(ads) // 50))
    )
    target = log_price - made.base
    middle = made.base + _unseen(made.rows, target, 0.5, of_middle, folds, seed)
    rows = _with_middle(made, middle)
    rest = log_price - middle
    tails = ((1 - SHARE) / 2, (1 + SHARE) / 2)
    low, high = (_unseen(rows, rest, tail, of_rest, folds, seed) for tail in tails)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    offsets = offsets_by_node(ads.paths, scores(rest, low, high), SHARE)
    model = PriceModel(
        features,
        middle=grow(made.rows, target, 0.5, of_middle, seed=seed),
        low=grow(rows, rest, tails[0], of_rest, seed=seed),
        high=grow(rows, rest, tails[1], of_rest, seed=seed),
        offsets=offsets,
    )
    by = [calibrated_node(path, offsets) for path in ads.paths]
    return model, _range(middle, low, high, by, offsets)


def _unseen(
    rows: Rows,
    target: Values,
    quantile: float,
    growth: Growth,
    folds: NDArray[np.int64],
    seed: int,
) -> Values:
    """Predictions (N,) of forests that were grown without the row's fold."""
    found = np.empty(len(target))
    for fold in np.unique(folds):
        out = folds == fold
        found[out] = grow(rows[~out], target[~out], quantile, growth, seed=seed).predict(rows[out])
    return found


def _with_middle(made: FeatureRows, middle: Values) -> Rows:
    return np.column_stack([made.rows, middle - made.base]).astype(np.float32)


def _range(
    middle: Values,
    low: Values,
    high: Values,
    by: list[Path],
    offsets: Mapping[Path, tuple[float, int]],
) -> LogRange:
    moved = np.array([offsets[node][0] for node in by])
    low = np.minimum(np.minimum(low, 0) - moved, 0)
    high = np.maximum(np.maximum(high, 0) + moved, 0)
    return LogRange(middle + low, middle, middle + high, by)
