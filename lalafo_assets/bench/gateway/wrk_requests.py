"""Generates the requests of `lalafo bench gateway`. Pure: the same arguments give the same ones."""

import json
import random
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from lalafo_assets.bench.gateway.wrk import Request
from lalafo_assets.bench.harness.ads import PlannedAd

CATALOG = "bench"
SPARE = 1.05
"""Requests generated for each one due, so that wrk does not start over and send one twice."""


def accept_requests(count: int, *, prefix: str) -> Iterator[Request]:
    """POST new ads of the usual size, each with two photos that nothing fetches."""
    for number in range(count):
        body = _ad(f"{prefix}-{number:07d}")
        body["photos"] = [{"url": f"https://photos.example/{number}-{n}.jpg"} for n in (1, 2)]
        yield Request("POST", "/v1/ads", json.dumps(body))


def wait_requests(ads: Sequence[PlannedAd], *, host: str, prefix: str) -> Iterator[Request]:
    """POST ads with photos on the bench's host, and wait up to 5 s for their results."""
    for ad in ads:
        body = _ad(f"{prefix}-{ad.ad_id}")
        body["photos"] = [{"url": f"{host}/{name}"} for name in ad.photos]
        yield Request("POST", "/v1/ads?wait=5", json.dumps(body))


def peer_requests(ads: Sequence[PlannedAd], *, host: str) -> Iterator[Request]:
    """POST the same ads in the peer's format."""
    for ad in ads:
        body = {"ad_id": ad.ad_id, "photos": [f"{host}/{name}" for name in ad.photos]}
        yield Request("POST", "/classify", json.dumps(body))


def read_requests(ad_ids: Sequence[str], count: int, *, seed: int = 11) -> Iterator[Request]:
    """GET existing ads, each chosen at random."""
    dice = random.Random(seed)  # noqa: S311 - not a secret
    for _ in range(count):
        yield Request("GET", f"/v1/ads/{CATALOG}/{quote(dice.choice(ad_ids))}")


def requests_needed(rate: float, seconds: float) -> int:
    """How many requests to generate for a load so that none is sent twice."""
    return int(rate * seconds * SPARE) + 8


def _ad(ad_id: str) -> dict[str, object]:
    return {
        "catalog": CATALOG,
        "ad_id": ad_id,
        "revision": 1,
        "title": f"Offer {ad_id}, little used",
        "description": "Pick-up in the evenings. Price as marked. " * 5,
        "category": "chair",
        "price": "1000.00",
        "currency": "KGS",
    }
