"""Fills a database of `lalafo bench growth`: a month of ads that ends now.

The rows of `lalafo bench gateway`, and what its requests do not read: an embedding of each photo, a
second release with predictions of every ad, and the accepted events of the last day, whose ads are
all committed. Nothing is due for upkeep.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lalafo_assets.bench.gateway import fill as gateway_fill
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.rescore.fill import BACKBONE, DIMENSION, bench_release, scored_partition
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register

LIVE, CANDIDATE = bench_release(0).name, bench_release(1).name
DIGESTS = {LIVE: "0" * 64, CANDIDATE: "1" * 64}
_CHUNK = 200_000

_EMBEDDINGS = f"""
    INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id)
    SELECT %(backbone)s, {gateway_fill.SHA256.format("n")}, %(vector)s::halfvec, %(release)s,
        'bench'
    FROM generate_series(%(start)s::bigint, %(stop)s - 1) AS n"""
_PREDICTIONS = """
    INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, score,
        details, run_id, scored_at)
    SELECT %(candidate)s, catalog, ad_id, task, revision, day, label, score, details, run_id,
        scored_at
    FROM lalafo.predictions WHERE release = %(release)s AND catalog = %(catalog)s
        AND ad_id >= lpad(%(start)s::text, 9, '0') AND ad_id < lpad(%(stop)s::text, 9, '0')"""
_ACCEPTED = """
    INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by,
        accepted_at)
    SELECT catalog, ad_id, revision, jsonb_build_object('schema', 1, 'kind', 'upserted',
        'event_id', event_id, 'catalog', catalog, 'ad_id', ad_id, 'revision', revision,
        'occurred_at', occurred_at, 'title', title, 'description', description, 'category',
        category, 'price', '1000.00', 'currency', currency, 'photos',
        jsonb_build_array(jsonb_build_object('url', 'https://photos.example/' || ad_id))),
        sha256(ad_id::bytea), 'bench', received_at
    FROM lalafo.ads WHERE day >= (now() - interval '25 hours')::date
        AND received_at > now() - interval '24 hours'"""
# The minutes of a session that still runs: the bench reads statistics for a while.
_MINUTES = """
    INSERT INTO lalafo.stream_minutes (minute, run_id, events, photos, statuses, labels, failures,
        latencies)
    SELECT at, 'bench', events, photos, statuses, labels, failures, latencies
    FROM generate_series(date_trunc('minute', now()) + interval '1 minute',
        date_trunc('minute', now()) + interval '2 hours', '1 minute') AS at,
        (SELECT * FROM lalafo.stream_minutes LIMIT 1) AS one"""


def fill(database: Database, *, ads: int, on_progress: Callable[[str, int, int], object]) -> float:
    """Insert `ads` ads with all their rows into an empty, migrated database.

    Args:
        on_progress: called with a description, the rows inserted so far, and the total.

    Returns:
        The size of the database in bytes.
    """
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    first = minute - timedelta(days=gateway_fill.DAYS)
    gateway_fill.fill(database, rows=ads, on_progress=on_progress, first=first)
    candidate = bench_release(1)
    manifest = {
        "taxonomy": {task: list(head.labels) for task, head in candidate.linear_heads.items()}
    }
    register(database, RegisteredRelease(CANDIDATE, DIGESTS[CANDIDATE], BACKBONE, manifest))
    values = {
        "backbone": BACKBONE,
        "vector": str([round(DIMENSION**-0.5, 6)] * DIMENSION),  # of unit length
        "release": LIVE,
        "candidate": CANDIDATE,
        "catalog": CATALOG,
    }
    for start in range(0, ads, _CHUNK):
        stop = min(ads, start + _CHUNK)
        for statement in (_EMBEDDINGS, _PREDICTIONS):
            with database.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")  # no foreign keys
                cursor.execute("SET LOCAL synchronous_commit = off")
                cursor.execute(statement, {**values, "start": start, "stop": stop})
        on_progress("inserting embeddings", stop, ads)
    with database.cursor() as cursor:
        # Those of `lalafo bench gateway` have no ad of their revision yet.
        cursor.execute("TRUNCATE lalafo.accepted_ads")
        cursor.execute(_ACCEPTED)
        cursor.execute(_MINUTES)
    return gateway_fill.vacuum(database) * 1e9


def tables() -> tuple[str, ...]:
    """The largest tables, in the order in which their sizes are reported."""
    own = ("ads", "ad_photos", "photos", "embeddings", "stage_timings")
    return (*own, f"predictions_{DIGESTS[LIVE][:16]}", scored_partition())
