"""What the task is compared with: the category's median, and scikit-learn's gradient boosting."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ops.tasks import Ad
from ops.tasks.price import asked_price, path_of, to_price

Prices = NDArray[np.float64]


def category_median(train: Sequence[Ad], test: Sequence[Ad]) -> Prices:
    """The median price of the category in the currency, for each ad of `test`."""
    by_key: dict[object, list[float]] = {}
    for ad in train:
        by_key.setdefault(_key(ad), []).append(asked_price(ad))
    medians = {key: float(np.median(prices)) for key, prices in by_key.items()}
    return np.array([medians[_key(ad)] for ad in test])


def gradient_boosting(
    train: Sequence[Ad], test: Sequence[Ad], *, photos: bool
) -> tuple[Prices, Prices, Prices]:
    """Low, middle and high by scikit-learn's GradientBoostingRegressor of the log price, its 10 %
    and 90 % quantiles uncalibrated. With `photos`, every embedding dimension is a feature, and
    the ends are those of the middle."""
    from sklearn.ensemble import GradientBoostingRegressor

    names = sorted({name for ad in train if ad.fields for name in ad.fields.attributes})
    codes = {key: float(number) for number, key in enumerate(dict.fromkeys(map(_key, train)))}

    def rows(ads: Sequence[Ad]) -> NDArray[np.float64]:
        fields = [
            [codes.get(_key(ad), -1.0), *(ad.fields.attributes.get(name, -1) for name in names)]
            for ad in ads
            if ad.fields is not None
        ]
        found = np.array(fields, np.float64)
        return np.hstack([found, to_price(ads).photos]) if photos else found

    known, wanted = rows(train), rows(test)
    target = np.log([asked_price(ad) for ad in train])
    middle = GradientBoostingRegressor(random_state=0).fit(known, target).predict(wanted)
    if photos:
        return np.exp(middle), np.exp(middle), np.exp(middle)
    low, high = (
        GradientBoostingRegressor(loss="quantile", alpha=tail, random_state=0)
        .fit(known, target)
        .predict(wanted)
        for tail in (0.1, 0.9)
    )
    return np.exp(low), np.exp(middle), np.exp(high)


def _key(ad: Ad) -> object:
    currency = None if ad.fields is None else ad.fields.currency
    return path_of(ad), currency
