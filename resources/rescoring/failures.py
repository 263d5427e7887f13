"""The failures of a task in a re-score: rows of kind `task`, as the stream writes them.

A row is deleted once its ad has a prediction, or another revision.
"""

from collections.abc import Mapping

from ops.types import Failure
from resources.catalogue.inputs import decode_key
from resources.catalogue.rows import task_subject
from resources.postgres.database import Database
from resources.rescoring.prediction_writer import Target

Failed = tuple[bytes, bytes]
"""An ad by its key, in binary COPY format, and the SHA-256 of its photo that failed, or b""."""


def record_failures(database: Database, target: Target, failures: Mapping[Failed, Failure]) -> None:
    """Write a row for each ad, unless it has another revision by now; repeats replace it."""
    with database.cursor() as cursor:
        for (data, photo), failure in sorted(failures.items()):
            key = decode_key(data)
            cursor.execute(
                "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, "
                'stream_id, topic, partition, "offset", run_id) '
                "SELECT 'task', %s, %s, %s, a.day, a.catalog, a.ad_id, a.stream_id, a.topic, "
                'a.partition, a."offset", %s FROM lalafo.ads AS a '
                "WHERE a.catalog = %s AND a.ad_id = %s AND a.revision = %s FOR SHARE OF a "
                "ON CONFLICT (kind, subject) DO UPDATE SET reason = excluded.reason, "
                "detail = excluded.detail, run_id = excluded.run_id, failed_at = now()",
                (
                    task_subject(key.ad, target.task, target.release, photo or None),
                    *(failure.reason.value, failure.detail, target.run_id),
                    *(key.ad.catalog, key.ad.ad_id, key.revision),
                ),
            )


def delete_repaired(database: Database, release: str, task: str) -> None:
    """Delete the failures of ads, and of photos, that the task has answered by now."""
    with database.cursor() as cursor:
        cursor.execute(
            "DELETE FROM lalafo.failures AS f USING lalafo.predictions AS p, lalafo.ads AS a "
            "WHERE f.kind = 'task' AND f.subject = f.catalog || '/' || f.ad_id || %s "
            "AND p.release = %s AND p.task = %s AND p.catalog = f.catalog AND p.ad_id = f.ad_id "
            "AND a.catalog = f.catalog AND a.ad_id = f.ad_id AND a.revision = p.revision",
            (f"#{task}@{release}", release, task),
        )
        cursor.execute(
            "DELETE FROM lalafo.failures AS f USING lalafo.photo_predictions AS p "
            "WHERE f.kind = 'task' AND position(%s IN f.subject) > 0 "
            "AND p.sha256 = CASE WHEN f.subject ~ '#[0-9a-f]{64}$' "
            "THEN decode(right(f.subject, 64), 'hex') END AND p.release = %s AND p.task = %s",
            (f"#{task}@{release}#", release, task),
        )
