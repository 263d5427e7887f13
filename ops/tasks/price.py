"""The task `price`: the range in which the price of an ad lies, and where the asked price lies.

Owns what is read of an ad, and what is answered; `ops/models/price/` has the model. The asked price
is compared with the range, and is never an input of it. Currencies have models of their own.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ops.errors import ConfigurationError
from ops.models.categories.tree import SEPARATOR
from ops.models.price.features import AdsToPrice
from ops.models.price.means import Path
from ops.models.price.model import SHARE, PriceModel, fit_model
from ops.models.price.selection import reasons
from ops.models.price.storage import from_tensors, to_tensors
from ops.models.task_head import TaskHead
from ops.tasks import Ad, AdFields, Answer, Inputs, Margin, Task
from ops.types import Prediction

NAME = "price"
CATEGORY = "category"

LEAST_ADS = 50
"""Ads of a currency from which its prices are learned."""

LEAST_GROUPS = 20
"""Groups of near duplicates among them: copies of one ad say no more than one."""

LEAST_OF_CATEGORY = 20
"""Ads of a category, or of one above it, from which a range is given."""

MOST_ADS = 20_000
"""Ads of a currency that are learned from; the fit takes minutes with them."""

IMPLAUSIBLE = 100.0
"""How many times as high or as low as the middle an asked price is no offer any more."""

FOLDS, FOLDS_OF_MANY, MANY_ADS = 20, 5, 2_000
"""Of few ads each fold is small: models of nearly all ads are like the one of all, so that ranges
that are calibrated by the former fit the latter. With 10 folds, 80 % ranges covered 83 %.
"""


class Position(StrEnum):
    """Where the asked price lies."""

    BELOW = "below"
    WITHIN = "within"
    ABOVE = "above"
    IMPLAUSIBLE = "implausible"
    NO_PRICE = "no price"
    NO_RANGE = "no range"


class PriceAnswer(Answer):
    """The range of prices that ads like this one have, and where the asked price lies in it.

    `label` is `below`, `within` or `above` the range; `implausible`, where the asked price is not
    above 0 or a hundred times off; `no price`, where none is asked in this currency; `no range`,
    where too little is known. `score` is the share of ads for which such a label is right by the
    calibration; 0 without a range.
    """

    low: float | None = Field(
        description="The lower end of the range.", json_schema_extra={"unit": "currency"}
    )
    middle: float | None = Field(
        description="The price that as many ads are below as above.",
        json_schema_extra={"unit": "currency"},
    )
    high: float | None = Field(
        description="The upper end of the range.", json_schema_extra={"unit": "currency"}
    )
    currency: str | None = Field(description="The ad's currency; null where the ad has none.")
    share: float = Field(
        description="The share of prices that lie in their range.",
        json_schema_extra={"unit": "share"},
    )
    asked: float | None = Field(
        description="The price that the seller asks; it is not used for the range.",
        json_schema_extra={"unit": "currency"},
    )
    position: str | None = Field(
        description="`below`, `within` or `above` the range; null where that can't be said."
    )
    reason: str | None = Field(
        description="Why there is no range or no position: `no_currency`, `unknown_currency` (no "
        "prices were learned in it), `few_ads_in_category`, `no_price`, `price_not_positive`, "
        "`price_implausible`; or null."
    )
    by: str | None = Field(
        description="The category whose ads the range was calibrated on; null: all ads in the "
        "currency, because the ad's category has too few."
    )


def predict_ads(ads: Sequence[Ad], head: TaskHead) -> list[PriceAnswer]:
    """Answer each ad; see PriceAnswer.

    Raises:
        ConfigurationError: the embeddings are of another backbone than the head.
    """
    models = _models(head)
    answers: list[PriceAnswer | None] = [None] * len(ads)
    by_currency: dict[str, list[int]] = {}
    for index, ad in enumerate(ads):
        currency = currency_of(ad.fields)
        model = None if currency is None else models.get(currency)
        reason = _no_range(ad, currency, model)
        if reason is not None:
            answers[index] = _without_range(ad, currency, reason)
        elif currency is not None:
            by_currency.setdefault(currency, []).append(index)
    for currency, indices in by_currency.items():
        seen = to_price([ads[i] for i in indices])
        _check_dimension(seen, head)
        found = models[currency].predict(seen)
        ends = [np.exp(part).tolist() for part in (found.low, found.middle, found.high)]
        for place, index in enumerate(indices):
            low, middle, high = (_three_digits(end[place]) for end in ends)
            answers[index] = _answer(ads[index], currency, (low, middle, high), found.by[place])
    return [answer for answer in answers if answer is not None]


def learns_from(fields: AdFields) -> bool:
    """Whether an ad has a price in a currency."""
    return fields.price is not None and currency_of(fields) is not None


def fit_ads(
    ads: Sequence[Ad], *, groups: Sequence[str], seed: int = 0
) -> tuple[TaskHead, dict[str, Any]]:
    """Fit a model for each currency that has LEAST_ADS ads whose prices are not set aside.

    The metrics have the number of ads, of prices that were set aside by reason, and measures of
    each currency by ads that the model had not seen, for each of FOLDS folds.

    Raises:
        ConfigurationError: no currency has enough ads.
    """
    rows_of: dict[str, list[int]] = {}
    for row, ad in enumerate(ads):
        currency = currency_of(ad.fields)
        if currency is not None and ad.fields is not None and ad.fields.price is not None:
            rows_of.setdefault(currency, []).append(row)
    tensors: dict[str, NDArray[Any]] = {}
    configs: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    few: dict[str, int] = {}
    dimension = 0
    for currency, rows in sorted(rows_of.items()):
        of_currency = [ads[i] for i in rows]
        prices = np.array([asked_price(ad) for ad in of_currency], np.float64)
        why = reasons(prices, [path_of(ad) for ad in of_currency])
        kept = [i for i, reason in enumerate(why) if reason is None]
        kept = sorted(sorted(kept, key=lambda i: _rank(of_currency[i], seed))[:MOST_ADS])
        different = {groups[rows[i]] for i in kept}
        if len(kept) < LEAST_ADS or len(different) < LEAST_GROUPS:
            few[currency] = len(kept)
            continue
        seen = to_price([of_currency[i] for i in kept])
        dimension = seen.photos.shape[1]
        log_price = np.log(prices[kept])
        folds = folds_of([groups[rows[i]] for i in kept], seed)
        model, unseen = fit_model(seen, log_price, folds, seed=seed)
        number = len(configs)
        parts, config = to_tensors(model, number)
        tensors |= parts
        configs[currency] = {"number": number, **config}
        metrics[currency] = {
            "ads": len(kept),
            "set_aside": dict(Counter(str(reason) for reason in why if reason is not None)),
            "median_error": float(np.median(np.abs(np.expm1(unseen.middle - log_price)))),
            "width": float(np.median(np.exp(unseen.high - unseen.low))),
        }
    if not configs:
        most = max(few.items(), key=lambda item: item[1], default=None)
        found = "none has a price" if most is None else f"{most[0]} has most, {most[1]}"
        raise ConfigurationError(
            f"The task {NAME} needs {LEAST_ADS} ads with photos and prices in one currency, of at "
            f"least {LEAST_GROUPS} different goods: {found}"
        )
    head = TaskHead(NAME, tensors, {"share": SHARE, "dimension": dimension, "currencies": configs})
    return head, {"currencies": metrics, "too_few": few}


def judge(answers: Sequence[Answer], ads: Sequence[Ad]) -> dict[str, Any]:
    """Measure ranges against the prices of held-out ads, without those that are set aside.

    `mape`: the median of |middle - price| / price. `coverage`: the share of prices in their range.
    `lowest_coverage`: that of the category where it is lowest, of those with 200 ads. `width`: the
    median of high / low. `answered`: the share of ads that have a range.
    `baseline_mape`: that of the median price of the judged ads of the category and currency.
    """
    pairs = _judged(answers, ads)
    count = len(pairs)
    ranged = [(answer, price, path) for answer, price, path, _ in pairs if answer.low is not None]
    if not ranged:
        return {"count": count, "answered": 0.0, "mape": None, "coverage": None, "width": None}
    price = np.array([price for _, price, _ in ranged])
    low, middle, high = (
        np.array([float(getattr(answer, end)) for answer, _, _ in ranged])
        for end in ("low", "middle", "high")
    )
    inside = (low <= price) & (price <= high)
    by_path: dict[Path, list[int]] = {}
    for row, (_, _, path) in enumerate(ranged):
        by_path.setdefault(path, []).append(row)
    large = [float(inside[rows].mean()) for rows in by_path.values() if len(rows) >= 200]
    return {
        "count": count,
        "answered": len(ranged) / count,
        "mape": float(np.median(np.abs(middle - price) / price)),
        "coverage": float(inside.mean()),
        "lowest_coverage": min(large, default=None),
        "width": float(np.median(high / low)),
        "baseline_mape": _median_error(pairs),
    }


def _judged(
    answers: Sequence[Answer], ads: Sequence[Ad]
) -> list[tuple[PriceAnswer, float, Path, str]]:
    """The answer, price, category and currency of each ad whose price says something."""
    rows_of: dict[str, list[int]] = {}
    for row, ad in enumerate(ads):
        currency = currency_of(ad.fields)
        if currency is not None and ad.fields is not None and ad.fields.price is not None:
            rows_of.setdefault(currency, []).append(row)
    found: list[tuple[PriceAnswer, float, Path, str]] = []
    for currency, rows in rows_of.items():
        prices = [asked_price(ads[row]) for row in rows]
        paths = [path_of(ads[row]) for row in rows]
        why = reasons(np.array(prices), paths)
        for row, price, path, reason in zip(rows, prices, paths, why, strict=True):
            answer = answers[row]
            if reason is None and isinstance(answer, PriceAnswer):
                found.append((answer, price, path, currency))
    return found


def _median_error(pairs: Sequence[tuple[PriceAnswer, float, Path, str]]) -> float:
    prices: dict[tuple[Path, str], list[float]] = {}
    for _, price, path, currency in pairs:
        prices.setdefault((path, currency), []).append(price)
    medians = {key: float(np.median(of)) for key, of in prices.items()}
    errors = [abs(medians[path, currency] - price) / price for _, price, path, currency in pairs]
    return float(np.median(errors))


def to_price(ads: Sequence[Ad]) -> AdsToPrice:
    """What the model reads of ads that have embeddings and fields."""
    photos, texts, attributes = [], [], []
    for ad in ads:
        assert ad.embeddings is not None
        assert ad.fields is not None
        photos.append(ad.embeddings.astype(np.float32).mean(axis=0))
        texts.append(f"{ad.fields.title}\n{ad.fields.description}")
        attributes.append(ad.fields.attributes)
    return AdsToPrice(np.stack(photos), texts, [path_of(ad) for ad in ads], attributes)


def path_of(ad: Ad) -> Path:
    """The parts of the seller's category; without one, those of the category by the photos."""
    label = None if ad.fields is None else ad.fields.category
    if label is None:
        found: Prediction | None = ad.answers.get(CATEGORY)
        unsure = found is not None and found.details.get("path") == []
        label = None if found is None or unsure else found.label
    return () if label is None else tuple(part for part in label.split(SEPARATOR) if part)


def currency_of(fields: AdFields | None) -> str | None:
    """The ad's currency in capitals; None where it has none."""
    text = "" if fields is None or fields.currency is None else fields.currency.strip().upper()
    return text or None


def asked_price(ad: Ad) -> float:
    """The price that the seller asks; NaN where there is none."""
    fields = ad.fields
    return float("nan") if fields is None or fields.price is None else float(fields.price)


def folds_of(groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The fold of each ad (N,), by its group: as many ads in each as groups allow."""
    count = FOLDS_OF_MANY if len(groups) >= MANY_ADS else FOLDS
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: (-sizes[group], _hash(f"{seed}:{group}")))
    filled = [0] * count
    fold: dict[str, int] = {}
    for group in order:
        fold[group] = min(range(count), key=filled.__getitem__)
        filled[fold[group]] += sizes[group]
    return np.array([fold[group] for group in groups], np.int64)


def _rank(ad: Ad, seed: int) -> bytes:
    assert ad.fields is not None
    return _hash(f"{seed}:{ad.fields.catalog}/{ad.fields.ad_id}")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@lru_cache(maxsize=8)  # a head is compared by identity
def _models(head: TaskHead) -> Mapping[str, PriceModel]:
    return {
        currency: from_tensors(head.tensors, config, config["number"])
        for currency, config in head.config["currencies"].items()
    }


def _check_dimension(ads: AdsToPrice, head: TaskHead) -> None:
    expected = head.config["dimension"]
    if ads.photos.shape[1] != expected:
        raise ConfigurationError(
            f"The head of {NAME} reads embeddings of length {expected}, got {ads.photos.shape[1]}: "
            "it was fitted for another backbone."
        )


def _no_range(ad: Ad, currency: str | None, model: PriceModel | None) -> str | None:
    """Why there is no range; None where there is one."""
    if currency is None:
        return "no_currency"
    if model is None:
        return "unknown_currency"
    path = path_of(ad)
    counts = model.features.categories.counts
    known = max((counts.get(path[:depth], 0) for depth in range(1, len(path) + 1)), default=None)
    if known is not None and known < LEAST_OF_CATEGORY:
        return "few_ads_in_category"
    return None


def _without_range(ad: Ad, currency: str | None, reason: str) -> PriceAnswer:
    asked = asked_price(ad)
    return PriceAnswer(
        label=Position.NO_RANGE,
        score=0,
        low=None,
        middle=None,
        high=None,
        currency=currency,
        share=SHARE,
        asked=None if math.isnan(asked) else asked,
        position=None,
        reason=reason,
        by=None,
    )


def _answer(ad: Ad, currency: str, ends: tuple[float, float, float], node: Path) -> PriceAnswer:
    low, middle, high = ends
    asked = asked_price(ad)
    label, score, reason = Position.WITHIN, SHARE, None
    if math.isnan(asked):
        label, reason = Position.NO_PRICE, "no_price"
    elif asked <= 0:
        label, reason = Position.IMPLAUSIBLE, "price_not_positive"
    elif not middle / IMPLAUSIBLE <= asked <= middle * IMPLAUSIBLE:
        label, score, reason = Position.IMPLAUSIBLE, (1 + SHARE) / 2, "price_implausible"
    elif asked < low:
        label, score = Position.BELOW, (1 + SHARE) / 2
    elif asked > high:
        label, score = Position.ABOVE, (1 + SHARE) / 2
    return PriceAnswer(
        label=label,
        score=score,
        low=low,
        middle=middle,
        high=high,
        currency=currency,
        share=SHARE,
        asked=None if math.isnan(asked) else asked,
        position=label.value if reason is None else None,
        reason=reason,
        by=SEPARATOR.join(node) or None,
    )


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


TASK = Task(
    name=NAME,
    asset_name="ad_prices",
    description="The range of prices that ads like each ad have, and where its own price lies.",
    inputs=Inputs(embedding=True, fields=True, answers=(CATEGORY,)),
    answer=PriceAnswer,
    predict_ads=predict_ads,
    number="middle",
    fit_ads=fit_ads,
    learns_from=learns_from,
    judge=judge,
    margins={
        "mape": Margin(worse_by=0.02),
        "coverage": Margin(worse_by=0.05, least=0.72, higher_is_better=True),
        "lowest_coverage": Margin(worse_by=0.05, least=0.70, higher_is_better=True),
    },
)
