"""Reads labelled photos and their vectors from PostgreSQL.

Owns which label counts: a person's label for an ad in a task; else, for the category, the seller's
own category. Owns which rows are used if there are more than a set may contain: labels by people
first, then in the order of the SHA-256 of the ad's key, so that the choice is repeatable.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ops.training.dataset import LabelledPhoto
from resources.postgres.database import Database

SELLERS_TASK = "category"
"""The task that sellers label themselves: the ad's category."""

_CHUNK = 5_000

_LABELLED = """
WITH labelled AS (
    SELECT a.catalog, a.ad_id, a.revision, l.task, l.label, 'person' AS source
    FROM lalafo.labels AS l JOIN lalafo.ads AS a USING (catalog, ad_id)
    WHERE a.status = 'scored'
    UNION ALL
    SELECT a.catalog, a.ad_id, a.revision, %(sellers_task)s, a.category, 'seller'
    FROM lalafo.ads AS a
    WHERE a.status = 'scored' AND a.category IS NOT NULL AND a.category <> ''
    AND NOT EXISTS (SELECT FROM lalafo.labels AS l WHERE l.catalog = a.catalog
        AND l.ad_id = a.ad_id AND l.task = %(sellers_task)s)
)
SELECT DISTINCT d.source, sha256(convert_to(d.catalog || '/' || d.ad_id, 'UTF8')),
    d.task, d.catalog, d.ad_id, p.sha256, p.rendition_sha256, d.revision, d.label
FROM labelled AS d
JOIN lalafo.ad_photos AS ap ON ap.catalog = d.catalog AND ap.ad_id = d.ad_id
    AND ap.revision = d.revision
JOIN lalafo.photos AS p ON p.sha256 = ap.sha256
WHERE d.task = ANY(%(tasks)s)
AND EXISTS (SELECT FROM lalafo.embeddings AS e
    WHERE e.backbone = %(backbone)s AND e.sha256 = p.sha256)
ORDER BY 1, 2, 3, 4, 5, 6
LIMIT %(most)s
"""


def read_labelled(
    database: Database, tasks: Sequence[str], backbone: str, *, most: int
) -> list[LabelledPhoto]:
    """The labelled photos of scored ads at their current revision, embedded under a backbone.

    A photo that an ad contains twice counts once; a photo of several ads counts once for each.

    Args:
        most: the maximum number of rows; labels by people come first ("person" < "seller").
    """
    with database.cursor() as cursor:
        cursor.execute(
            _LABELLED,
            {
                "sellers_task": SELLERS_TASK,
                "tasks": list(tasks),
                "backbone": backbone,
                "most": most,
            },
        )
        return [
            LabelledPhoto(task, catalog, ad_id, sha, rendition, revision, label, source)
            for source, _, task, catalog, ad_id, sha, rendition, revision, label in cursor
        ]


def read_embeddings(
    database: Database, backbone: str, photos: Sequence[bytes]
) -> dict[bytes, NDArray[np.float16]]:
    """The stored vectors (D,) of photos under a backbone, by SHA-256."""
    sha256s = sorted(set(photos))
    found: dict[bytes, NDArray[np.float16]] = {}
    with database.cursor() as cursor:
        for start in range(0, len(sha256s), _CHUNK):
            cursor.execute(
                "SELECT sha256, embedding FROM lalafo.embeddings "
                "WHERE backbone = %s AND sha256 = ANY(%s::bytea[])",
                (backbone, sha256s[start : start + _CHUNK]),
                binary=True,
            )
            found.update(cursor.fetchall())
    return found
