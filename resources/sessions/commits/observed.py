"""What is written once a commit was observed: its time, and what no longer has to be announced.

The time of a commit is not known within it. One statement, in a transaction of its own that does
not wait for the disk: a crash may undo it. Then the times stay null, and some records are published
twice, which is harmless.
"""

from collections.abc import Sequence
from datetime import datetime

import psycopg

from ops.types import AdEvent
from resources.postgres.commit_notices import CHANNEL, messages

_OBSERVED = (
    "WITH asynchronous AS (SELECT set_config('synchronous_commit', 'off', true)), "
    "timed AS ("
    "UPDATE lalafo.stage_timings AS held SET committed_at = seen.at "
    "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[]) "
    "AS seen (catalog, ad_id, revision, at) "
    "WHERE held.catalog = seen.catalog AND held.ad_id = seen.ad_id "
    "AND held.revision = seen.revision AND held.committed_at IS NULL), "
    "published AS (DELETE FROM lalafo.outbox WHERE id = ANY(%s)) "
    "SELECT CASE WHEN message IS NOT NULL THEN pg_notify(%s, message) END "
    "FROM asynchronous LEFT JOIN unnest(%s::text[]) AS message ON true"
)


def write_observed(
    cursor: psycopg.Cursor, seen: Sequence[tuple[AdEvent, datetime]], published: Sequence[int]
) -> None:
    """Write when each ad's commit was observed, and notify the requests that wait for these ads.

    Args:
        published: the ids of outbox records that Kafka has acknowledged; they are deleted.
    """
    cursor.execute(
        _OBSERVED,
        (
            [event.key.catalog for event, _ in seen],
            [event.key.ad_id for event, _ in seen],
            [event.revision for event, _ in seen],
            [at for _, at in seen],
            list(published),
            CHANNEL,
            messages(event.key for event, _ in seen),
        ),
    )
