"""What a price is estimated from: an ad's photos, text, category and attributes, as numbers.

Owns which features there are. Photos and texts become one number each, by a ridge regression of
the log price relative to the category's mean. While the trees are fitted, every number that was
learned from prices is of regressions and means that have not seen the ad's own fold; otherwise the
trees would trust them too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ops.models.price.anchors import Anchors
from ops.models.price.means import NodeMeans, Path, mean_by_value, without_own_fold
from ops.models.price.ridge import Ridge, fit_ridge
from ops.models.price.text import text_rows

MISSING = np.float32(-1e30)
"""The value of an attribute that an ad lacks, below all others: a tree can ask for it."""

MAX_NAMES = 32
MOST_SPREADS = 5.0
LEAST_ADS_OF_NAME = 10
LEAST_VALUES, LEAST_REPEATS = 8, 3
"""An attribute of whole numbers with so many values, each of so many ads, is also taken for a code,
such as a postal code: each value has a mean of its own."""

Rows = NDArray[np.float32]
Values = NDArray[np.float64]
Folds = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class AdsToPrice:
    """N ads: `photos` (N, D) float32, the mean of each ad's embeddings; `texts`; `paths`, the
    category's parts from the root, `()` where there is none; `attributes` by name."""

    photos: Rows
    texts: Sequence[str]
    paths: Sequence[Path]
    attributes: Sequence[Mapping[str, float]]

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, rows: NDArray[np.int64]) -> "AdsToPrice":
        """The ads with these numbers."""
        chosen = rows.tolist()
        return AdsToPrice(
            self.photos[rows],
            [self.texts[i] for i in chosen],
            [self.paths[i] for i in chosen],
            [self.attributes[i] for i in chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """The A attributes that are read: `centre` and `spread` (A,) of their signed logarithms, and
    the mean of each value of those that are codes, by the attribute's number."""

    names: tuple[str, ...]
    centre: Values
    spread: Values
    codes: Mapping[int, Mapping[float, float]]

    def values(self, ads: Sequence[Mapping[str, float]]) -> Values:
        """(N, A), NaN where an ad has no such attribute."""
        missing = float("nan")
        found = [[of.get(name, missing) for name in self.names] for of in ads]
        return np.array(found, np.float64).reshape(len(ads), len(self.names))

    def linear(self, values: Values, coded: Values) -> Rows:
        """The features of the linear regression: logarithms, what is missing, and codes."""
        # Clipped: a year of 20150 is a slip of the pen, and thousands of deviations off.
        logs = np.clip(
            (_signed_log(values) - self.centre) / self.spread, -MOST_SPREADS, MOST_SPREADS
        )
        absent = np.isnan(values)
        return np.hstack([np.where(absent, 0, logs), absent, coded]).astype(np.float32)


class FeatureRows(NamedTuple):
    """`base` (N,): the category's mean of the log price. `rows` (N, F): the features."""

    base: Values
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the features of an ad are made with. A ridge that is None has nothing to read."""

    categories: NodeMeans
    attributes: Attributes
    photo: Ridge | None
    text: Ridge | None
    linear: Ridge | None
    smooth: Ridge | None
    anchors: Anchors | None  # of `smooth`

    def of(self, ads: AdsToPrice) -> FeatureRows:
        """The features of new ads."""
        base = np.array([self.categories[path] for path in ads.paths])
        values = self.attributes.values(ads.attributes)
        coded = _coded(values, self.attributes.codes)
        found: list[Values] = []
        if self.photo is not None:
            found.append(self.photo.predict(ads.photos))
        if self.text is not None:
            found.append(self.text.predict(text_rows(ads.texts)))
        if self.linear is not None:
            linear = self.attributes.linear(values, coded)
            found.append(self.linear.predict(linear))
            if self.smooth is not None and self.anchors is not None:
                found.append(self.smooth.predict(self.anchors.near(linear)))
        return FeatureRows(base, _rows(base, found, values, coded))


def fit_features(ads: AdsToPrice, log_price: Values, folds: Folds) -> tuple[Features, FeatureRows]:
    """Learn the features from ads; returns them, and those of the ads, without their own folds.

    Args:
        folds: (N,) ads of one fold are near duplicates of each other, or of one seller.
    """
    categories = NodeMeans.of(ads.paths, log_price)
    base = without_own_fold(ads.paths, log_price, folds)
    target = log_price - base
    names = _names(ads.attributes)
    attributes = Attributes(names, np.zeros(len(names)), np.ones(len(names)), {})
    values = attributes.values(ads.attributes)
    logs = _signed_log(values)
    present = ~np.isnan(values)
    centre = np.array([logs[has, i].mean() for i, has in enumerate(present.T)])
    spread = np.array([max(float(logs[has, i].std()), 1e-6) for i, has in enumerate(present.T)])
    numbers = [i for i in range(len(names)) if _is_code(values[:, i])]
    codes = {i: _means(values[:, i], target) for i in numbers}
    coded = np.empty((len(ads), len(numbers)))
    for fold in np.unique(folds):
        out, kept = folds == fold, folds != fold
        of_others = {i: _means(values[kept, i], target[kept]) for i in numbers}
        coded[out] = _coded(values[out], of_others)
    attributes = Attributes(names, centre, spread, codes)
    linear = attributes.linear(values, coded) if names else None
    anchors = None if linear is None else Anchors.of(linear)
    sources = (
        ads.photos,
        text_rows(ads.texts) if any(text.strip() for text in ads.texts) else None,
        linear,
        None if linear is None or anchors is None else anchors.near(linear),
    )
    ridges: list[Ridge | None] = []
    found: list[Values] = []
    for rows in sources:
        if rows is None or not rows.any():
            ridges.append(None)
            continue
        ridge, predicted = fit_ridge(rows, target, folds)
        ridges.append(ridge)
        found.append(predicted)
    photo, text, by_line, smooth = ridges
    features = Features(categories, attributes, photo, text, by_line, smooth, anchors)
    return features, FeatureRows(base, _rows(base, found, values, coded))


def _rows(base: Values, found: Sequence[Values], values: Values, coded: Values) -> Rows:
    filled = np.where(np.isnan(values), MISSING, values)
    return np.column_stack([base, *found, filled, coded]).astype(np.float32)


def _names(ads: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The most frequent names that enough ads have, sorted."""
    counts: dict[str, int] = {}
    for of in ads:
        for name in of:
            counts[name] = counts.get(name, 0) + 1
    often = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_NAMES]
    return tuple(sorted(name for name in often if counts[name] >= LEAST_ADS_OF_NAME))


def _is_code(values: Values) -> bool:
    present = values[~np.isnan(values)]
    whole = bool((present == np.round(present)).all())
    distinct = len(np.unique(present))
    return whole and distinct >= LEAST_VALUES and len(present) >= LEAST_REPEATS * distinct


def _means(values: Values, target: Values) -> dict[float, float]:
    keys = [None if value != value else value for value in values.tolist()]
    return mean_by_value(keys, target)


def _coded(values: Values, codes: Mapping[int, Mapping[float, float]]) -> Values:
    """(N, C): the mean of each code; 0 for one that is missing or new."""
    columns = [[of.get(value, 0.0) for value in values[:, i].tolist()] for i, of in codes.items()]
    return np.array(columns, np.float64).reshape(len(codes), len(values)).T


def _signed_log(values: Values) -> Values:
    found: Values = np.sign(values) * np.log1p(np.abs(values))
    return found
