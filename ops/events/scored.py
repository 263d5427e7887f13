"""Serializes the events of the topic `ads.scored`: schema 1, one event for each committed ad.

The key is catalog/ad_id. Events carry values of the live release only. Delivery is at least once:
a consumer takes the highest `revision` of an ad. An event of kind `release_promoted` reports that
another release is live now: values published before it came from the release `instead_of`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ops.outcomes import AdOutcome, PhotoOutcome
from ops.types import SCORE_DIGITS, AdStatus, Prediction

SCHEMA = 1


def scored_event(ad: AdOutcome, *, live: str, run_id: str) -> bytes:
    """Serialize the event of one ad as UTF-8 JSON."""
    event = ad.event
    deleted = ad.status is AdStatus.DELETED
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "deleted" if deleted else "scored",
        "catalog": event.key.catalog,
        "ad_id": event.key.ad_id,
        "revision": event.revision,
        "event_id": event.event_id,
        "status": ad.status.value,
        "release": live,
        "run_id": run_id,
    }
    if not deleted:
        fields["predictions"] = _predictions(ad.predictions.get(live, ()))
        fields["photos"] = [_photo(photo) for photo in ad.photos]
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def promoted_event(release: str, *, instead_of: str, unscored_days: Sequence[str]) -> bytes:
    """Serialize the event of a promotion as UTF-8 JSON.

    Args:
        release: the release that is live now.
        instead_of: the release that was live before.
        unscored_days: days with ads that have no values of `release` yet.
    """
    fields = {
        "schema": SCHEMA,
        "kind": "release_promoted",
        "release": release,
        "instead_of": instead_of,
        "unscored_days": list(unscored_days),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def _predictions(items: Sequence[Prediction]) -> Mapping[str, Any]:
    return {
        item.task: {
            "label": item.label,
            "score": round(item.score, SCORE_DIGITS),
            "details": item.details,
        }
        for item in items
    }


def _photo(photo: PhotoOutcome) -> Mapping[str, str]:
    if photo.sha256 is not None:
        return {"sha256": photo.sha256.hex()}
    assert photo.failure is not None
    return {"reason": photo.failure.reason.value}
