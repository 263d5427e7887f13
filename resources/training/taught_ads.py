"""Reads whole ads from PostgreSQL, for tasks that learn from what sellers write.

Owns which ads are used if there are more than a set may contain: the first in the order of the
SHA-256 of their keys, so that the choice is repeatable.
"""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from ops.tasks import AdFields
from ops.tasks.contract.learning import LearnsFrom
from ops.training.taught_ads import TaughtAd
from resources.postgres.database import Database

_READ_FOR_EACH = 4  # ads read for each that is wanted: tasks can use only some of them

_ADS = """
SELECT a.catalog, a.ad_id, a.title, a.description, a.category, a.price, a.currency, a.occurred_at,
    a.kafka_at, a.attributes, a.revision,
    ARRAY(SELECT p.sha256 FROM lalafo.ad_photos AS ap JOIN lalafo.photos AS p USING (sha256)
        WHERE ap.catalog = a.catalog AND ap.ad_id = a.ad_id AND ap.revision = a.revision
        ORDER BY ap.position),
    ARRAY(SELECT p.rendition_sha256
        FROM lalafo.ad_photos AS ap JOIN lalafo.photos AS p USING (sha256)
        WHERE ap.catalog = a.catalog AND ap.ad_id = a.ad_id AND ap.revision = a.revision
        ORDER BY ap.position)
FROM lalafo.ads AS a
WHERE a.status = 'scored'
AND NOT EXISTS (SELECT FROM lalafo.ad_photos AS ap
    WHERE ap.catalog = a.catalog AND ap.ad_id = a.ad_id AND ap.revision = a.revision
    AND ap.sha256 IS NOT NULL AND NOT EXISTS (SELECT FROM lalafo.embeddings AS e
        WHERE e.backbone = %(backbone)s AND e.sha256 = ap.sha256))
ORDER BY sha256(convert_to(a.catalog || '/' || a.ad_id, 'UTF8'))
LIMIT %(most)s
"""


def read_taught_ads(
    database: Database, usable: Sequence[LearnsFrom], backbone: str, *, most: int
) -> list[TaughtAd]:
    """The scored ads that a task can learn from, whose photos are embedded under a backbone.

    Args:
        usable: of each task that learns from ads; without any, no ad is read.
        most: the maximum number of ads.
    """
    if not usable:
        return []
    found: list[TaughtAd] = []
    with database.cursor() as cursor:
        cursor.execute(_ADS, {"backbone": backbone, "most": _READ_FOR_EACH * most})
        for *values, revision, photos, renditions in cursor:
            fields = _fields(values)
            pairs = tuple(dict(zip(photos, renditions, strict=True)).items())
            if pairs and any(learns_from(fields) for learns_from in usable):
                found.append(TaughtAd(fields, revision, pairs))
                if len(found) == most:
                    break
    return found


def _fields(values: Sequence[Any]) -> AdFields:
    *texts, occurred_at, kafka_at, attributes = values
    catalog, ad_id, title, description, category, price, currency = texts
    return AdFields(
        *(catalog, ad_id, title, description, category, price, currency),
        occurred_at=occurred_at.astimezone(UTC),
        received_at=kafka_at.astimezone(UTC),
        attributes=attributes or {},
    )
