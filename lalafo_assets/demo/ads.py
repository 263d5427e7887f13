"""Generates a demo's ads: events of schema 1 about labelled photos, some invalid on purpose.

Owns how many photos an ad has, what it costs, and which faults occur. The result is reproducible by
its seed.
"""

import json
import math
import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PHOTOS_PER_AD = (1, 2, 3, 4)
CORRUPT_EVERY = 20
"""Every twentieth ad has a corrupt photo too; the ad is scored on its other photos."""

CONDITIONS = {"as new": 1.25, "little used": 1.0, "with a history": 0.65}
"""What a title says, and the factor on the price."""

LOWEST, HIGHEST = 400.0, 60_000.0  # the usual price of a category, in som
YEARLY = 0.92  # what a year leaves of a price
SELLERS = 40
NOISE = 0.15  # the standard deviation of the log price


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo that the demo's host serves."""

    name: str  # its path below the served folder
    label: str


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """A Kafka record to publish."""

    key: bytes
    value: bytes
    photos: int
    bad: bool = False  # not a valid event: it must become a dead letter


def make_ads(
    photos: Sequence[LabelledPhoto],
    *,
    count: int,
    catalog: str,
    url_of: Callable[[str], str],
    corrupt_urls: Sequence[str],
    seed: int,
) -> list[DemoMessage]:
    """Return `count` ads (or fewer if there are fewer photos), each with photos of one label.

    Every photo is used at most once. Labels alternate, so that a short demo has all of them. A
    photo without a label has an ad of its own: nobody knows which of them show the same goods.
    """
    dice = random.Random(seed)  # noqa: S311 - not used for security
    groups = _groups(photos, count, dice)
    messages = []
    for index, group in enumerate(groups):
        urls = [url_of(photo.name) for photo in group]
        if corrupt_urls and index % CORRUPT_EVERY == CORRUPT_EVERY // 2:
            urls.append(corrupt_urls[index // CORRUPT_EVERY % len(corrupt_urls)])
        event = _event(catalog, f"{index:06d}", group[0].label, urls, dice)
        key = f"{catalog}/{index:06d}".encode()
        messages.append(DemoMessage(key, json.dumps(event).encode(), len(urls)))
    return messages


def broken_messages(catalog: str) -> list[DemoMessage]:
    """Return records that are not valid events, as a producer with a bug might send them."""
    valid = _event(catalog, "broken", "", [], random.Random(0))  # noqa: S311
    bodies = [
        b"this is not JSON",
        json.dumps({**valid, "schema": 99}).encode(),
        json.dumps({**valid, "revision": "seven"}).encode(),
        json.dumps({name: value for name, value in valid.items() if name != "ad_id"}).encode(),
        json.dumps({**valid, "photos": [{"url": "http://127.0.0.1/x.jpg"}] * 10_000}).encode(),
    ]
    return [DemoMessage(f"{catalog}/broken".encode(), body, 0, bad=True) for body in bodies]


def _groups(
    photos: Sequence[LabelledPhoto], count: int, dice: random.Random
) -> list[list[LabelledPhoto]]:
    by_label: dict[str, list[LabelledPhoto]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    for remaining in by_label.values():
        dice.shuffle(remaining)
    labels = sorted(by_label)
    groups: list[list[LabelledPhoto]] = []
    while len(groups) < count and any(by_label.values()):
        label = labels[len(groups) % len(labels)]
        if not by_label[label]:
            labels.remove(label)
            continue
        groups.append([by_label[label].pop()])
    for group in groups:
        remaining = by_label[group[0].label] if group[0].label else []
        for _ in range(min(dice.choice(PHOTOS_PER_AD) - 1, len(remaining))):
            group.append(remaining.pop())
    return groups


def _event(
    catalog: str, ad_id: str, label: str, urls: Sequence[str], dice: random.Random
) -> dict[str, Any]:
    condition = dice.choice(list(CONDITIONS))
    age = dice.randrange(15)
    price = usual_price(label) * CONDITIONS[condition] * YEARLY**age
    return {
        "schema": 1,
        "event_id": f"{catalog}-{ad_id}-1",
        "kind": "upserted",
        "catalog": catalog,
        "ad_id": ad_id,
        "revision": 1,
        "occurred_at": datetime.now(UTC).isoformat(),
        "title": f"{_name(label)}, {condition}",
        "description": "Pick-up in the evenings. Price as marked.",
        **({"category": label} if label else {}),
        "price": round(price * math.exp(dice.gauss(0, NOISE)), -1),
        "currency": "KGS",
        "seller": f"s-{zlib.crc32(ad_id.encode()) % SELLERS}",
        "attributes": {"age_years": age},
        "photos": [{"url": url} for url in urls],
    }


def usual_price(label: str) -> float:
    """The price of a category's goods in som: anything, but the same in every demo."""
    share = zlib.crc32(label.encode()) / 2**32
    return LOWEST * math.pow(HIGHEST / LOWEST, share)


def _name(label: str) -> str:
    """The last part of a category's path: a title of `clothing/dresses` starts with `dresses`."""
    return label.rpartition("/")[2] or "a photo"
