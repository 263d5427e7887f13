"""Serializes the event `duplicate_found` of the topic `ads.scored`: two sellers have one photo.

It is written once for each pair of ads, when they are found; again only after they no longer shared
a photo. The key is catalog/ad_id of the ad whose commit led to it.
"""

import json
from collections.abc import Sequence
from typing import Any

from ops.types import SCORE_DIGITS, AdKey

SCHEMA = 1
KIND = "duplicate_found"


def duplicate_event(
    key: AdKey,
    revision: int,
    seller: str,
    *,
    other: tuple[str, int, str],
    probability: float,
    photos: Sequence[tuple[bytes, bytes, str, float, Sequence[str]]],
    run_id: str,
) -> bytes:
    """Serialize the event as UTF-8 JSON.

    Args:
        other: id, revision and seller of the other ad.
        probability: that both are one ad.
        photos: of each shared photo the SHA-256 in this ad and in the other one, whether it is
            exact or altered, with which probability, and how it was altered.
    """
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": KIND,
        **{"catalog": key.catalog, "ad_id": key.ad_id, "revision": revision, "seller": seller},
        "other": dict(zip(("ad_id", "revision", "seller"), other, strict=True)),
        "probability": round(probability, SCORE_DIGITS),
        "photos": [
            {
                **{"sha256": sha256.hex(), "other_sha256": other_sha256.hex()},
                **{"verdict": verdict, "probability": round(likely, SCORE_DIGITS)},
                "changes": list(changes),
            }
            for sha256, other_sha256, verdict, likely, changes in photos
        ],
        "run_id": run_id,
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
