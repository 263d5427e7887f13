"""Plans the ads of `lalafo bench stream` and when each is due. Pure: the same seed, the same plan.

Arrivals are an open loop: an ad's due time does not depend on the ads before it. Due times are
evenly spaced with a jitter of up to a whole interval, so that bursts of two and gaps occur.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

REVISION = 1
MIN_PHOTOS, MAX_PHOTOS = 1, 4
"""Photos per ad."""


@dataclass(frozen=True, slots=True)
class PlannedAd:
    """One ad to publish."""

    ad_id: str
    photos: tuple[str, ...]  # names on the photo host
    due_s: float  # after the start

    def value(self, catalog: str, host: str) -> bytes:
        """The ad as the value of a Kafka record: an event of schema 1."""
        event = {
            "schema": 1,
            "event_id": f"{catalog}-{self.ad_id}-{REVISION}",
            "kind": "upserted",
            "catalog": catalog,
            "ad_id": self.ad_id,
            "revision": REVISION,
            "occurred_at": datetime.now(UTC).isoformat(),
            "title": f"Offer {self.ad_id}, little used",
            "description": "Pick-up in the evenings. Price as marked.",
            "category": "",
            "price": 1_000,
            "currency": "KGS",
            "photos": [{"url": f"{host}/{name}"} for name in self.photos],
        }
        return json.dumps(event).encode()


def plan_ads(
    *, ads: int, photos_per_ad: float, rate: float, names: Sequence[str], seed: int = 7
) -> list[PlannedAd]:
    """Plan `ads` ads with `photo_counts` photos each, due at `due_times`; no photo is used twice.

    Args:
        rate: ads a second; with 0 all ads are due at once.
        names: photos on the host, as many as the counts need, in the order of use.
    """
    counts = photo_counts(ads, photos_per_ad, seed=seed)
    times = due_times(ads, rate, seed=seed)
    planned, used = [], 0
    for index, (count, due_s) in enumerate(zip(counts, times, strict=True)):
        planned.append(PlannedAd(f"{index:06d}", tuple(names[used : used + count]), due_s))
        used += count
    return planned


def photo_counts(ads: int, mean: float, *, seed: int = 7) -> list[int]:
    """The number of photos of each ad: 1 to 4 at random, `round(ads * mean)` in total."""
    if not MIN_PHOTOS <= mean <= MAX_PHOTOS:
        raise ValueError(f"{mean} photos per ad: expected {MIN_PHOTOS} to {MAX_PHOTOS}")
    dice = random.Random(seed)  # noqa: S311 - not a secret
    total = round(ads * mean)
    counts = [dice.randint(MIN_PHOTOS, MAX_PHOTOS) for _ in range(ads)]
    while (missing := total - sum(counts)) != 0:
        step = 1 if missing > 0 else -1
        movable = [i for i, n in enumerate(counts) if MIN_PHOTOS <= n + step <= MAX_PHOTOS]
        for index in dice.sample(movable, min(len(movable), abs(missing))):
            counts[index] += step
    return counts


def due_times(ads: int, rate: float, *, seed: int = 7) -> list[float]:
    """Seconds after the start at which each ad is due, ascending; all 0 if `rate` is 0."""
    if rate == 0:
        return [0.0] * ads
    dice = random.Random(seed)  # noqa: S311
    return [(index + dice.random()) / rate for index in range(ads)]
