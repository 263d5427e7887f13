"""Writes what the tasks after the ad's path answered, in the transaction that holds the queue rows.

An ad gets its answers only if no commit has written it since it was read, and only if the releases
are still the active ones: the same rules as for a session's commit. The transaction waits at most
LOCK_TIMEOUT_MS for a commit's locks, so that PostgreSQL's detection of deadlocks never cancels a
commit.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ops.errors import ReleaseChangedError, RetryableError
from ops.events.scored import deferred_event
from ops.types import AdKey, Prediction
from resources.catalogue.rows import task_subject
from resources.releases.coverage import reopen_day
from resources.releases.photo_answers import insert_photo_answers
from resources.sessions.deferred.answers import Answers
from resources.sessions.deferred.stored_ads import StoredAd

Cursor = psycopg.Cursor[Any]

LOCK_TIMEOUT_MS = 500  # less than PostgreSQL waits (1 s) before it looks for a deadlock
ATTEMPTS = 20


def write(
    cursor: Cursor,
    ads: Sequence[StoredAd],
    answers: Answers,
    releases: Sequence[str],
    *,
    run_id: str,
    scored_topic: str,
) -> list[StoredAd]:
    """Write the answers of the ads that are unchanged, and announce them; returns those ads.

    Args:
        releases: under which they were answered, the live one first.

    Raises:
        ReleaseChangedError: other releases are active by now.
        RetryableError: rows were locked at every attempt.
    """
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_MS}ms",))
    for _ in range(ATTEMPTS):
        cursor.execute("SAVEPOINT results")
        try:
            _require_active(cursor, releases)
            current = _unchanged(cursor, ads)
            insert_photo_answers(cursor, answers.photos.values(), run_id)
            _write_predictions(cursor, current, answers, run_id)
            _write_failures(cursor, current, answers, run_id)
            _reopen_days(cursor, [ad for ad in current if ad.queued.key in answers.incomplete])
            for ad in current:
                _announce(cursor, ad, answers, releases, run_id, scored_topic)
        except psycopg.errors.LockNotAvailable:
            cursor.execute("ROLLBACK TO SAVEPOINT results")
        else:
            return current
    raise RetryableError("commits held the rows of the ads at every attempt")


def _require_active(cursor: Cursor, releases: Sequence[str]) -> None:
    """Until the end of the transaction no release is proposed, promoted or withdrawn."""
    cursor.execute(
        "SELECT array_remove(ARRAY[live, candidate, previous], NULL) "
        "FROM lalafo.active_releases FOR SHARE"
    )
    row = cursor.fetchone()
    active = [] if row is None else row[0]
    if active != list(releases):
        raise ReleaseChangedError(f"active releases are {active}, not {list(releases)}")


def _unchanged(cursor: Cursor, ads: Sequence[StoredAd]) -> list[StoredAd]:
    """The ads that no commit has written since; locked in the order in which commits do."""
    cursor.execute(
        "SELECT k.id FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], "
        "%s::timestamptz[]) AS k (id, catalog, ad_id, revision, updated_at) "
        "JOIN lalafo.ads AS a ON a.catalog = k.catalog AND a.ad_id = k.ad_id "
        "AND a.revision = k.revision AND a.updated_at = k.updated_at AND a.status = 'scored' "
        'ORDER BY a.catalog COLLATE "C", a.ad_id COLLATE "C" FOR SHARE OF a',
        (
            [ad.queued.id for ad in ads],
            [ad.queued.key.catalog for ad in ads],
            [ad.queued.key.ad_id for ad in ads],
            [ad.queued.revision for ad in ads],
            [ad.updated_at for ad in ads],
        ),
    )
    by_id = {ad.queued.id: ad for ad in ads}
    return [by_id[id_] for (id_,) in cursor.fetchall()]


def _write_predictions(
    cursor: Cursor, ads: Sequence[StoredAd], answers: Answers, run_id: str
) -> None:
    by_key = {ad.queued.key: ad.queued for ad in ads}
    rows = sorted(
        (
            (release, by_key[key], found)
            for (key, release), of in answers.predictions.items()
            if key in by_key
            for found in of
        ),
        key=lambda row: (row[0], row[1].key.catalog, row[1].key.ad_id, row[2].task),
    )
    if not rows:
        return
    cursor.execute(
        "INSERT INTO lalafo.predictions AS held (release, catalog, ad_id, task, revision, day, "
        "label, score, details, run_id) SELECT new.*, %s FROM unnest(%s::text[], %s::text[], "
        "%s::text[], %s::text[], %s::bigint[], %s::date[], %s::text[], %s::real[], %s::jsonb[]) "
        "AS new ON CONFLICT (release, catalog, ad_id, task) DO UPDATE SET "
        "revision = EXCLUDED.revision, day = EXCLUDED.day, label = EXCLUDED.label, "
        "score = EXCLUDED.score, details = EXCLUDED.details, top_labels = NULL, "
        "top_scores = NULL, run_id = EXCLUDED.run_id, scored_at = EXCLUDED.scored_at "
        "WHERE held.revision <= EXCLUDED.revision",
        (
            run_id,
            [release for release, _, _ in rows],
            [ad.key.catalog for _, ad, _ in rows],
            [ad.key.ad_id for _, ad, _ in rows],
            [found.task for _, _, found in rows],
            [ad.revision for _, ad, _ in rows],
            [ad.day for _, ad, _ in rows],
            [found.label for _, _, found in rows],
            [found.score for _, _, found in rows],
            [Jsonb(found.details) for _, _, found in rows],
        ),
    )


def _write_failures(cursor: Cursor, ads: Sequence[StoredAd], answers: Answers, run_id: str) -> None:
    for ad in ads:
        key = ad.queued.key
        for failed in answers.failures.get(key, ()):
            cursor.execute(
                "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, "
                'stream_id, topic, partition, "offset", run_id) '
                "SELECT 'task', %s, %s, %s, a.day, a.catalog, a.ad_id, a.stream_id, a.topic, "
                'a.partition, a."offset", %s FROM lalafo.ads AS a '
                "WHERE a.catalog = %s AND a.ad_id = %s "
                "ON CONFLICT (kind, subject) DO UPDATE SET reason = excluded.reason, "
                "detail = excluded.detail, run_id = excluded.run_id, failed_at = now()",
                (
                    task_subject(key, failed.task, failed.release, failed.photo),
                    *(failed.failure.reason.value, failed.failure.detail, run_id),
                    *(key.catalog, key.ad_id),
                ),
            )


def _reopen_days(cursor: Cursor, ads: Sequence[StoredAd]) -> None:
    """Ads that a re-score has to embed under a release: their days are not complete."""
    for day in sorted({ad.queued.day for ad in ads}):
        reopen_day(cursor, day)


def _announce(
    cursor: Cursor,
    ad: StoredAd,
    answers: Answers,
    releases: Sequence[str],
    run_id: str,
    scored_topic: str,
) -> None:
    """Put the ad's second event of `ads.scored` in the outbox, if the live release adds to it."""
    queued, live = ad.queued, releases[0]
    added = answers.predictions.get((queued.key, live), ())
    if not added:
        return
    event = deferred_event(
        *(queued.key, queued.revision),
        event_id=ad.event_id,
        predictions=_predictions(cursor, queued.key, queued.revision, live),
        photos=ad.photos,
        tasks=[found.task for found in added],
        live=live,
        run_id=run_id,
    )
    cursor.execute(
        "INSERT INTO lalafo.outbox (topic, key, value, traceparent) VALUES (%s, %s, %s, %s)",
        (scored_topic, str(queued.key).encode(), event, queued.traceparent),
    )


def _predictions(cursor: Cursor, key: AdKey, revision: int, live: str) -> list[Prediction]:
    cursor.execute(
        "SELECT task, label, score::float8, details FROM lalafo.predictions_with_details "
        "WHERE release = %s AND catalog = %s AND ad_id = %s AND revision = %s ORDER BY task",
        (live, key.catalog, key.ad_id, revision),
    )
    return [Prediction(*row) for row in cursor.fetchall()]
