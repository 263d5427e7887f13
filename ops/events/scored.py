"""What goes out on `ads.scored`: schema 1, one event a committed ad, keyed catalog/ad_id.

Only values of the live release. At least once: a consumer takes the highest `revision` of an ad.
One more event, of kind `release_promoted`, tells that another release is live: what a consumer
holds of earlier ads was said by `instead_of`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ops.outcomes import AdOutcome, PhotoOutcome
from ops.types import AdStatus, Prediction

SCHEMA = 1


def scored_event(ad: AdOutcome, *, live: str, run_id: str) -> bytes:
    """The event of one ad, as UTF-8 JSON."""
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
    """The event of a flip, as UTF-8 JSON; `unscored_days`: those whose ads have no values yet."""
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
        item.task: {"label": item.label, "score": round(item.score, 6), "details": item.details}
        for item in items
    }


def _photo(photo: PhotoOutcome) -> Mapping[str, str]:
    if photo.sha256 is not None:
        return {"sha256": photo.sha256.hex()}
    assert photo.failure is not None
    return {"reason": photo.failure.reason.value}
