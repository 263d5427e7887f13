"""Runs `lalafo bench price`: the task and its baselines on ads that they have not seen."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.all_tasks.priced_ads import ABSURD_EVERY, BEST_MAPE, generated_ads
from lalafo_assets.bench.price.baselines import category_median, gradient_boosting
from lalafo_assets.bench.price.houses import read_houses, without
from ops.tasks import Ad
from ops.tasks.price import PriceAnswer, asked_price, currency_of, fit_ads, path_of, predict_ads

HELD_OUT = 0.25  # of the generated ads

Ends = NDArray[np.float64]  # (3, N): low, middle and high; NaN without a range


def run_bench(
    *,
    houses: Path | None,
    folds: int,
    draws: int,
    count: int,
    on_progress: Callable[[str], object],
) -> str:
    """Measure, and return the JSON line.

    Args:
        houses: a folder of homes; None: generated ads alone.
        draws: how often the homes are divided into folds.
    """
    result: dict[str, Any] = {"generated": _generated(count, on_progress)}
    if houses is not None:
        ads, backbone = read_houses(houses, on_progress)
        found = [_cross_validated(ads, folds, draw, on_progress) for draw in range(draws)]
        result["houses"] = {
            "backbone": backbone,
            "ads": len(ads),
            "folds": folds,
            "draws": draws,
            **{name: _mean([of[name] for of in found]) for name in found[0]},
        }
    return json.dumps(result)


def _generated(count: int, on_progress: Callable[[str], object]) -> dict[str, Any]:
    """Learn from three quarters of generated ads, and measure on the rest."""
    on_progress(f"learning from {count} generated ads")
    ads = generated_ads(count, seed=0)
    order = np.random.default_rng(1).permutation(count)
    cut = round(HELD_OUT * count)
    test, train = ([ads[i] for i in part.tolist()] for part in (order[:cut], order[cut:]))
    started = time.perf_counter()
    head, metrics = fit_ads(train, groups=[str(i) for i in range(len(train))])
    took = time.perf_counter() - started
    plausible = [row for row, ad in enumerate(test) if _plausible(ad)]
    kept = [test[row] for row in plausible]
    learned = [ad for ad in train if _plausible(ad)]
    prices = np.array([asked_price(ad) for ad in kept])
    ends = _ends(predict_ads(kept, head))
    by_category: dict[str, Any] = {}
    for key in sorted({_name(ad) for ad in kept}):
        rows = [row for row, ad in enumerate(kept) if _name(ad) == key]
        by_category[key] = {
            "learned": sum(_name(ad) == key for ad in learned),
            "judged": len(rows),
            **_measures(ends[:, rows], prices[rows]),
        }
    return {
        "ads": count,
        "absurd": count // ABSURD_EVERY,
        "set_aside": {c: of["set_aside"] for c, of in metrics["currencies"].items()},
        "fit_s": round(took, 1),
        "best_possible_mape": BEST_MAPE,
        "task": _measures(ends, prices),
        "category_median": _measures(np.stack([category_median(learned, kept)] * 3), prices),
        "boosting_fields": _measures(np.stack(_boosting(learned, kept, False)), prices),
        "boosting_both": _measures(np.stack(_boosting(learned, kept, True)), prices),
        "categories": by_category,
    }


def _boosting(train: list[Ad], test: list[Ad], photos: bool) -> tuple[NDArray[np.float64], ...]:
    """Gradient boosting of each currency apart."""
    found = np.empty((3, len(test)))
    for currency in {currency_of(ad.fields) for ad in test}:
        rows = [row for row, ad in enumerate(test) if currency_of(ad.fields) == currency]
        known = [ad for ad in train if currency_of(ad.fields) == currency]
        found[:, rows] = gradient_boosting(known, [test[row] for row in rows], photos=photos)
    return tuple(found)


def _cross_validated(
    ads: list[Ad], folds: int, draw: int, on_progress: Callable[[str], object]
) -> dict[str, Any]:
    fold_of = np.random.default_rng(draw).permutation(len(ads)) % folds
    prices = np.array([asked_price(ad) for ad in ads])
    variants = {
        "task": ads,
        "task_without_photos": without(ads, "photos"),
        "task_without_fields": without(ads, "fields"),
    }
    names = (*variants, "category_median", "boosting_fields", "boosting_both")
    ends = {name: np.full((3, len(ads)), np.nan) for name in names}
    for fold in range(folds):
        on_progress(f"homes: draw {draw + 1}, fold {fold + 1} of {folds}")
        out, kept = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        for name, of in variants.items():
            train = [of[i] for i in kept.tolist()]
            head, _ = fit_ads(train, groups=[str(i) for i in kept.tolist()])
            ends[name][:, out] = _ends(predict_ads([of[i] for i in out.tolist()], head))
        train, test = ([ads[i] for i in part.tolist()] for part in (kept, out))
        ends["category_median"][:, out] = category_median(train, test)
        ends["boosting_fields"][:, out] = gradient_boosting(train, test, photos=False)
        ends["boosting_both"][:, out] = gradient_boosting(train, test, photos=True)
    return {name: _measures(of, prices) for name, of in ends.items()}


def _ends(answers: Sequence[PriceAnswer]) -> Ends:
    nan = float("nan")
    return np.array(
        [[nan if end is None else end for end in (a.low, a.middle, a.high)] for a in answers]
    ).T


def _measures(ends: Ends, prices: NDArray[np.float64]) -> dict[str, float]:
    """`mape`: the median of |middle - price| / price; `coverage` and `width` (the median of high /
    low) of the ranges; `answered`: the share of ads that have one."""
    has = ~np.isnan(ends[1])
    low, middle, high = ends[:, has]
    price = prices[has]
    found = {"mape": float(np.median(np.abs(middle - price) / price)), "answered": has.mean()}
    if (low < high).any():
        found["coverage"] = float(((low <= price) & (price <= high)).mean())
        found["width"] = float(np.median(high / low))
    return {name: round(float(value), 4) for name, value in found.items()}


def _mean(of: Sequence[dict[str, float]]) -> dict[str, float]:
    return dict(_means(of))


def _means(of: Sequence[dict[str, float]]) -> Iterator[tuple[str, float]]:
    for name in of[0]:
        values = [measures[name] for measures in of]
        yield name, round(float(np.mean(values)), 4)
        if len(values) > 1:
            yield f"{name}_lowest", min(values)
            yield f"{name}_highest", max(values)


def _plausible(ad: Ad) -> bool:
    """Whether the generated price is none of the absurd ones."""
    number = int(ad.fields.ad_id) if ad.fields is not None else 0
    return number % ABSURD_EVERY != 0


def _name(ad: Ad) -> str:
    return f"{'/'.join(path_of(ad))} {currency_of(ad.fields)}"
