"""Generated ads with prices, whose noise is known: no model can be better than it.

Owns how a price comes about: from the category, attributes, words of the title, and a condition
that only the photos show. Photos are vectors, not pixels.
"""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from ops.tasks import Ad, AdFields

NOISE = 0.25
"""The standard deviation of the log price that nothing explains."""

BEST_MAPE = 0.17
"""The median of |exp(e) - 1| with that noise, of a model that knows everything else."""

DIMENSION = 96
CURRENCIES = {"KGS": 1.0, "USD": 1 / 87.5}
ABSURD = (0, 1, 123_456_789_012)
ABSURD_EVERY = 40

_CATEGORIES = {
    "home/flats": (5_000_000.0, ("area", 30, 120, 0.9), ("floor", 1, 12, 0.05)),
    "home/houses": (6_500_000.0, ("area", 60, 300, 0.8), ("land", 300, 2_000, 0.2)),
    "cars": (900_000.0, ("mileage", 1_000, 250_000, -0.25), ("year", 1998, 2026, 60.0)),
    "electronics/phones": (18_000.0, ("memory", 32, 512, 0.35), ("year", 2015, 2026, 120.0)),
    "electronics/laptops": (45_000.0, ("memory", 4, 64, 0.4), ("year", 2013, 2026, 90.0)),
    "furniture/chairs": (4_000.0, ("width_cm", 40, 90, 0.3), ("year", 2000, 2026, 10.0)),
}
_WORDS = {"as new": 0.25, "urgent": -0.2, "for parts": -0.9, "original": 0.15, "good": 0.0}


def generated_ads(count: int, seed: int, dimension: int = DIMENSION) -> list[Ad]:
    """So many ads with one to three photos each; every ABSURD_EVERY-th price is absurd.

    Args:
        dimension: D of the photos' vectors.
    """
    rng = np.random.default_rng(seed)
    names = list(_CATEGORIES)
    directions = rng.normal(size=(len(names) + 1, dimension))
    ads: list[Ad] = []
    for number in range(count):
        at = int(rng.integers(len(names)))
        name = names[at]
        middle, *attributes = _CATEGORIES[name]
        currency = "KGS" if rng.random() < 0.65 else "USD"
        word = str(rng.choice(list(_WORDS)))
        condition = rng.normal()
        values = {n: float(rng.integers(low, high)) for n, low, high, _ in attributes}
        log_price = np.log(middle * CURRENCIES[currency]) + _WORDS[word] + 0.3 * condition
        for n, low, high, power in attributes:
            log_price += power * np.log(values[n] / ((low + high) / 2))
        price = float(np.exp(log_price + NOISE * rng.normal()))
        if number % ABSURD_EVERY == 0:
            price = ABSURD[number // ABSURD_EVERY % len(ABSURD)]
        if rng.random() < 0.1:  # sellers leave fields out
            values.pop(attributes[0][0])
        photos = directions[at] + condition * directions[-1]
        vectors = photos + rng.normal(size=(int(rng.integers(1, 4)), dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        fields = AdFields(
            catalog="generated",
            ad_id=str(number),
            title=f"{name.rpartition('/')[2]}, {word}",
            description="Pick-up in the evenings.",
            category=name,
            price=Decimal(f"{price:.2f}"),
            currency=currency,
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
            attributes=values,
        )
        ads.append(Ad(embeddings=vectors.astype(np.float16), fields=fields))
    return ads
