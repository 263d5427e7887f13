"""The failures of a task in a re-score: rows of kind `task`, as the stream writes them.

A row is deleted once its ad has a prediction, or another revision.
"""

from collections.abc import Mapping

from ops.types import Failure
from resources.catalogue.rows import task_subject
from resources.postgres.database import Database
from resources.rescoring.inputs import decode_key
from resources.rescoring.prediction_writer import Target


def record_failures(database: Database, target: Target, failures: Mapping[bytes, Failure]) -> None:
    """Write a row for each ad, unless it has another revision by now; repeats replace it.

    Args:
        failures: by the ad's key, in binary COPY format.
    """
    with database.cursor() as cursor:
        for data, failure in sorted(failures.items()):
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
                    task_subject(key.ad, target.task, target.release),
                    *(failure.reason.value, failure.detail, target.run_id),
                    *(key.ad.catalog, key.ad.ad_id, key.revision),
                ),
            )


def delete_repaired(database: Database, release: str, task: str) -> None:
    """Delete the failures of ads that the task has a prediction for by now."""
    with database.cursor() as cursor:
        cursor.execute(
            "DELETE FROM lalafo.failures AS f USING lalafo.predictions AS p, lalafo.ads AS a "
            "WHERE f.kind = 'task' AND f.subject = f.catalog || '/' || f.ad_id || %s "
            "AND p.release = %s AND p.task = %s AND p.catalog = f.catalog AND p.ad_id = f.ad_id "
            "AND a.catalog = f.catalog AND a.ad_id = f.ad_id AND a.revision = p.revision",
            (f"#{task}@{release}", release, task),
        )
