"""What a person should know about the stack: read from PostgreSQL, by small statements.

`GET /v1/notices`, `/readyz`, `lalafo up`, `lalafo stats` and `lalafo doctor` show the same. Owns
which notices there are, and when each holds. Every table that is read is small, or is read only up
to a maximum number of rows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg

from gateway.backends.lag import LogEnds, partition_lags
from gateway.schemas.notices import NoticeOut

MAX_ACCEPTED = 1_000  # accepted ads to check
SEVERITIES = ("error", "warning", "info")

Cursor = psycopg.Cursor[Any]

DRAWN_ONLY = """coalesce(
    ({0} #>> '{{metrics,training_photos,only_drawn}}')::boolean,
    {0} ->> 'weights_source' = 'starter, trained from nothing on drawn photos'
        AND NOT jsonb_exists({0} -> 'metrics', 'training_set'),
    false)"""
"""Whether a release has learned its categories from drawn photos only, by the manifest in its row;
the same rule as `learned_from_drawn_photos` of `ops/training/provenance.py`."""

LIVE = f"""
    SELECT r.name, {DRAWN_ONLY.format("r.manifest")}, f.changed_at
    FROM lalafo.active_releases AS f JOIN lalafo.releases AS r ON r.name = f.live"""
# A correlated subquery is a look-up by primary key, whatever the planner's estimates are.
ACCEPTED = """
    SELECT count(*), extract(epoch FROM clock_timestamp() - min(w.accepted_at))::float8
    FROM (SELECT catalog, ad_id, revision, accepted_at FROM lalafo.accepted_ads
        ORDER BY accepted_at DESC LIMIT %(most)s) AS w
    WHERE w.revision > coalesce((SELECT a.revision FROM lalafo.ads AS a
        WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id), -1)"""
_OTHER = "stream_id <> coalesce(%(stream_id)s::text, stream_id)"
SESSIONS = f"""
    SELECT count(*) FILTER (WHERE state = 'ready' AND NOT {_OTHER}),
        count(*) FILTER (WHERE state = 'warming' AND NOT {_OTHER}),
        count(*) FILTER (WHERE {_OTHER}),
        string_agg(pid || ' on ' || host, ', ' ORDER BY started_at) FILTER (WHERE {_OTHER})
    FROM lalafo.sessions WHERE topic = %(topic)s AND expires_at > clock_timestamp()"""
# A session has worked if it became ready and has not failed: it still lives, or ended later.
FAILED = f"""
    SELECT f.error, f.failed_at FROM lalafo.sessions AS f
    WHERE f.topic = %(topic)s AND f.error IS NOT NULL AND (f.stream_id = '' OR NOT {_OTHER})
        AND NOT EXISTS (SELECT FROM lalafo.sessions AS w WHERE w.topic = f.topic
            AND w.error IS NULL AND w.state <> 'warming' AND w.expires_at > f.failed_at)
    ORDER BY f.failed_at DESC LIMIT 1"""


def read_notices(
    cursor: Cursor, *, topic: str, stream_id: str | None, log: LogEnds | None = None
) -> list[NoticeOut]:
    """Return the notices that hold now, the most severe first; [] if all is well.

    Args:
        stream_id: of the stream that sessions should read; None: not known.
        log: the topic's offsets in Kafka; None: only ads that the gateway accepted count as
            waiting.
    """
    values = {"topic": topic, "stream_id": stream_id}
    cursor.execute(LIVE)
    live = cursor.fetchone()
    cursor.execute(FAILED, values)
    failed = cursor.fetchone()
    cursor.execute(SESSIONS, values)
    ready, warming, others, processes = cursor.fetchall()[0]
    found = []
    if live is None:
        found.append(_no_release())
    elif live[1]:
        found.append(_synthetic_release(live[0], live[2]))
    if failed is not None:
        found.append(_session_failed(failed[0], failed[1]))
    if live is not None and ready == 0:
        waiting, since = _waiting(cursor, topic, log)
        if waiting > 0:
            found.append(_no_sessions(waiting, since, warming))
    if others > 0:
        found.append(_other_sessions(others, processes))
    return sorted(found, key=lambda notice: SEVERITIES.index(notice.severity))


def without_details(notices: Iterable[NoticeOut]) -> list[NoticeOut]:
    """Return the notices for callers who may not see errors and processes of the whole stack."""
    texts = {
        "session_failed": "The last session failed; its run in Dagster says why.",
        "other_sessions": "Sessions read another stream than this gateway's.",
    }
    return [
        notice.model_copy(update={"message": texts.get(notice.code, notice.message)})
        for notice in notices
    ]


def _waiting(cursor: Cursor, topic: str, log: LogEnds | None) -> tuple[int, float | None]:
    """Count events that no session has committed; also the age of the oldest, if it is known."""
    cursor.execute(ACCEPTED, {"most": MAX_ACCEPTED})
    ((accepted, age_s),) = cursor.fetchall()
    lag = 0 if log is None else sum(one.lag for one in partition_lags(cursor, topic, log))
    return max(accepted, lag), age_s


def _no_release() -> NoticeOut:
    return NoticeOut(
        code="no_release",
        severity="error",
        message="No release is live: ads are accepted, and none is scored until one is.",
        action="lalafo releases install starter",
        at=None,
    )


def _synthetic_release(name: str, since: datetime) -> NoticeOut:
    return NoticeOut(
        code="synthetic_release",
        severity="warning",
        message=f"The live release {name} has learned its categories from drawn photos only: its "
        "answers for real photos are often wrong.",
        action="lalafo train",
        at=since.astimezone(UTC),
    )


def _session_failed(error: str, at: datetime) -> NoticeOut:
    return NoticeOut(
        code="session_failed",
        severity="error",
        message=f"The last session failed: {error}",
        action=None,
        at=at.astimezone(UTC),
    )


def _no_sessions(waiting: int, age_s: float | None, warming: int) -> NoticeOut:
    events = "1 event waits" if waiting == 1 else f"{waiting:,} events wait"
    oldest = "" if age_s is None else f", the oldest for {age_s:,.0f} s"
    if warming:
        message = f"{events}{oldest}: a session is loading its releases."
    else:
        message = f"{events}{oldest}, and no session runs: the sensor new_ads in Dagster starts one"
        message += " every few seconds, or says why not."
    severity = "info" if warming else "warning"
    return NoticeOut.model_validate(
        {"code": "no_sessions", "severity": severity, "message": message, "action": None}
        | {"at": None}
    )


def _other_sessions(count: int, processes: str) -> NoticeOut:
    sessions = "1 session reads" if count == 1 else f"{count} sessions read"
    which = "process" if count == 1 else "processes"
    return NoticeOut(
        code="other_sessions",
        severity="warning",
        message=f"{sessions} another stream than this stack's and score none of its ads: {which} "
        f"{processes}.",
        action=None,
        at=None,
    )
