"""Fills the database of `lalafo bench gateway` with ads, photos and predictions.

The data is a month of ads in the order of arrival, with one to four photos each (2.5 on average),
a prediction of the live release and stage timings for every ad, and some labels, failures and
unpublished outbox records. PostgreSQL generates the rows itself, in the order of their keys, as
sessions would write them. Only the photos' SHA-256 differ: they count up, because building an index
of ten million random keys would take an hour, and the index would be just as deep.
"""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.rescore.fill import BACKBONE, bench_release
from ops.errors import ConfigurationError
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register

BYTES_AN_AD = 2_100  # measured with 200,000 ads, indexes included, write-ahead log not included
FIRST = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 30
CHUNK = 200_000
PHOTOS = (1, 2, 3, 4)  # photos per ad, in turn
_STEP = 104_729  # between the photos of one ad, so that they lie far apart in the index
_RUN = "0123456789ab-4def-8123-0123456789ab"
_DETAILS = {
    "top": [["chair", 0.61], ["armchair", 0.22], ["sofa", 0.09], ["table", 0.05], ["bed", 0.03]],
    "photos": 2,
}

AD_ID = "lpad(n::text, 9, '0')"
SHA256 = "decode(lpad(to_hex({}), 64, '0'), 'hex')"
MOMENT = "%(first)s::timestamptz + n * %(interval)s::interval"

# One session's minutes of a whole month, whatever the number of ads.
MINUTES = """
    INSERT INTO lalafo.stream_minutes (minute, run_id, events, photos, statuses, labels, failures,
        latencies)
    SELECT minute, %(run)s, 1200, 3000, '{"scored": 1190, "unscored": 10}',
        '{"category": {"chair": 700, "sofa": 490}}', '{"fetch_timeout": 10}', latencies
    FROM generate_series(%(first)s::timestamptz,
        %(first)s::timestamptz + %(days)s * '1 day'::interval, '1 minute') AS minute,
        (SELECT jsonb_object_agg(stage, buckets) FROM
            unnest('{total,fetch,photos,queued,embed,predict}'::text[]) AS stage,
            (SELECT jsonb_object_agg(n, 60) AS buckets FROM generate_series(40, 59) AS n) AS b
        ) AS l (latencies)"""

STATEMENTS = {
    "ads": f"""
        INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, category,
            price, currency, event_id, occurred_at, kafka_at, received_at, stream_id, topic,
            partition, "offset", run_id)
        SELECT %(catalog)s, {AD_ID}, 1, ({MOMENT})::date, 'scored', 'Offer ' || n,
            'Pick-up in the evenings. Price as marked.', 'chair', 1000, 'KGS', 'e' || n, {MOMENT},
            {MOMENT}, {MOMENT}, 'bench', 'ads', 0, n, %(run)s
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n""",
    "photos": f"""
        INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height,
            source_format, source_width, source_height, source_bytes, run_id)
        SELECT {SHA256.format("n")}, {SHA256.format("n")}, 30000, 400, 533, 'jpeg', 400, 533,
            30000, %(run)s
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n""",
    "ad_photos": f"""
        INSERT INTO lalafo.ad_photos (catalog, ad_id, position, url, sha256, revision, run_id)
        SELECT %(catalog)s, {AD_ID}, place,
            'https://photos.example/' || n || '-' || place || '.jpg',
            {SHA256.format("(n + place * %(step)s) %% %(rows)s")}, 1, %(run)s
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n,
            generate_series(0, n %% %(max_photos)s) AS place""",
    "predictions": f"""
        INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, score,
            details, run_id, scored_at)
        SELECT %(release)s, %(catalog)s, {AD_ID}, 'category', 1, ({MOMENT})::date,
            'category ' || lpad((n %% 29)::text, 2, '0'), 0.61, %(details)s::jsonb, %(run)s,
            {MOMENT}
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n""",
    "stage_timings": f"""
        INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at,
            polled_at, fetch_ms, photos_ms, queued_ms, embed_ms, predict_ms, committed_at)
        SELECT %(catalog)s, {AD_ID}, 1, ({MOMENT})::date, %(run)s, {MOMENT}, {MOMENT}, 12, 9, 3,
            20, 1, {MOMENT}
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n""",
    "labels, outbox and failures": f"""
        WITH labelled AS (
            INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by)
            SELECT %(catalog)s, {AD_ID}, 'category', 'armchair', 'moderator-7'
            FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n WHERE n %% 100 = 0
        ), unpublished AS (
            INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by,
                accepted_at)
            SELECT %(catalog)s, {AD_ID}, 2, jsonb_build_object('schema', 1, 'kind', 'upserted',
                'event_id', 'e' || n, 'catalog', %(catalog)s::text, 'ad_id', {AD_ID}, 'revision', 2,
                'occurred_at', '2026-07-01T00:00:00+00:00', 'title', 'Offer ' || n, 'description',
                '', 'category', 'chair', 'price', '1000.00', 'currency', 'KGS', 'photos',
                '[]'::jsonb), {SHA256.format("n")}, 'bench', {MOMENT}
            FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n WHERE n %% 50 = 1
        )
        INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, url,
            stream_id, topic, partition, "offset", run_id, failed_at)
        SELECT 'photo', %(catalog)s || '/' || {AD_ID} || '#0', 'fetch_timeout',
            'photos.example took longer than 10 s', ({MOMENT})::date, %(catalog)s, {AD_ID},
            'https://photos.example/' || n || '.jpg', 'bench', 'ads', 0, n, %(run)s, {MOMENT}
        FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n WHERE n %% 100 = 2""",
}


def check_disk_space(folder: Path, rows: int) -> None:
    """Raise ConfigurationError if `rows` ads and their indexes would not fit on the disk."""
    free, needed = shutil.disk_usage(folder).free, rows * BYTES_AN_AD
    if free < needed * 1.2:
        raise ConfigurationError(
            f"{rows} ads take {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free in the "
            "temporary folder. Set TMPDIR to another folder, or lower --rows."
        )


def fill(
    database: Database,
    *,
    rows: int,
    on_progress: Callable[[str, int, int], object],
    first: datetime = FIRST,
) -> float:
    """Insert `rows` ads into an empty, migrated database.

    Args:
        first: when the first ad arrives; the others follow evenly, within DAYS.
        on_progress: called with a description, the rows inserted so far, and the total.

    Returns:
        The size of the database afterwards, in gigabytes.
    """
    release = bench_release(0)
    manifest = {
        "taxonomy": {task: list(head.labels) for task, head in release.linear_heads.items()}
    }
    register(database, RegisteredRelease(release.name, "0" * 64, BACKBONE, manifest))
    make_live(database, release.name)
    values = {
        "catalog": CATALOG,
        "first": first,
        "interval": timedelta(days=DAYS) / rows,
        "run": _RUN,
        "rows": rows,
        "max_photos": len(PHOTOS),
        "step": _STEP,
        "release": release.name,
        "details": json.dumps(_DETAILS),
    }
    done = dict.fromkeys(STATEMENTS, 0)

    def fill_table(name: str) -> None:
        for start in range(0, rows, CHUNK):
            stop = min(rows, start + CHUNK)
            _insert(database, STATEMENTS[name], {**values, "start": start, "stop": stop})
            done[name] += stop - start
            on_progress("inserting rows", sum(done.values()), rows * len(STATEMENTS))

    largest_first = (
        *("ad_photos", "ads", "photos", "predictions", "stage_timings"),
        "labels, outbox and failures",
    )
    with ThreadPoolExecutor(2, "fill") as pool:  # two tables at a time
        list(pool.map(fill_table, largest_first))
    _insert(database, MINUTES, {**values, "days": DAYS})
    return vacuum(database)


def vacuum(database: Database) -> float:
    """Vacuum, analyse and checkpoint; returns the size of the database in gigabytes."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")
        connection.exec_driver_sql("CHECKPOINT")
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return float(cursor.fetchall()[0][0]) / 1e9


def ad_id(number: int) -> str:
    """The id of the ad with this number, in the form of the SQL expression AD_ID."""
    return f"{number:09d}"


def _insert(database: Database, statement: str, values: dict[str, Any]) -> None:
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no foreign-key checks
        cursor.execute("SET LOCAL synchronous_commit = off")  # a crash ends the bench anyway
        cursor.execute(statement, values)
