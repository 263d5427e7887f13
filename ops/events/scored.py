"""Serializes the events of the topic `ads.scored`: schema 1, one event for each committed ad, and
another one where tasks ran after its commit: it has the key `tasks`.

The key is catalog/ad_id. Events carry values of the live release only. Delivery is at least once:
a consumer takes the highest `revision` of an ad. An event of kind `release_promoted` reports that
another release is live now: values published before it came from the release `instead_of`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ops.outcomes import AdOutcome, PhotoOutcome
from ops.types import SCORE_DIGITS, AdKey, AdStatus, Prediction

SCHEMA = 1


def scored_event(ad: AdOutcome, *, live: str, run_id: str) -> bytes:
    """Serialize the event of one ad as UTF-8 JSON."""
    deleted = ad.status is AdStatus.DELETED
    fields = _fields(ad.event.key, ad.event.revision, ad.event.event_id, ad.status, live, run_id)
    if not deleted:
        fields["predictions"] = _predictions(ad.predictions.get(live, ()))
        fields["photos"] = [_photo(photo) for photo in ad.photos]
    return _json(fields)


def deferred_event(
    key: AdKey,
    revision: int,
    *,
    event_id: str,
    predictions: Sequence[Prediction],
    photos: Sequence[tuple[bytes | None, str | None]],
    tasks: Sequence[str],
    live: str,
    run_id: str,
) -> bytes:
    """Serialize the second event of an ad as UTF-8 JSON, once its later tasks have run.

    Args:
        predictions: all of the ad's, under the live release.
        photos: the SHA-256 of each photo, or the reason why there is none.
        tasks: those that the first event did not have.
    """
    return _json(
        {
            **_fields(key, revision, event_id, AdStatus.SCORED, live, run_id),
            "predictions": _predictions(predictions),
            "photos": [
                {"reason": reason} if sha256 is None else {"sha256": sha256.hex()}
                for sha256, reason in photos
            ],
            "tasks": sorted(tasks),
        }
    )


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


def _fields(
    key: AdKey, revision: int, event_id: str, status: AdStatus, live: str, run_id: str
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "deleted" if status is AdStatus.DELETED else "scored",
        "catalog": key.catalog,
        "ad_id": key.ad_id,
        "revision": revision,
        "event_id": event_id,
        "status": status.value,
        "release": live,
        "run_id": run_id,
    }


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


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
