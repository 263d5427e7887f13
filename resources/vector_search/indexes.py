"""The index of each backbone: which are needed, how one is built beside the stream, and dropped.

A build has three states. `building`: rows are added and the index is created, and changes are not
followed, since they would wait for it. `catching_up`: changes are followed, and what the build
missed is added. `ready`: searches use it, once a release of its backbone is live.
"""

import hashlib
from dataclasses import replace
from typing import Any

import psycopg
import structlog
from psycopg import sql

from resources.postgres.database import Database
from resources.vector_search.ad_vectors import LEASE, add_missing, read_indexes, remove_stale
from resources.vector_search.queries import SearchIndex

M, EF_CONSTRUCTION = 16, 64
"""Of the HNSW graph: pgvector's own defaults. `lalafo bench search` measures them."""

CHUNK_ADS = 2_000
LOCK_TIMEOUT = "300ms"
MAX_BUILD_MEMORY_MB = 4_096
_ROW_BYTES = 700  # of a row in the graph, besides its vector's two bytes a number
PARALLEL_FROM = (0, 8, 2)
"""Versions of pgvector before this one may write out of bounds in a parallel build
(CVE-2026-3172)."""

SOUND_FROM = (0, 8, 4)
"""Before this version, a vacuum may damage an index."""

log = structlog.get_logger()

# A candidate's catalogue is being embedded until its days are complete.
_NEEDED = """
    SELECT DISTINCT r.backbone FROM lalafo.active_releases AS f
    JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous)
    WHERE r.name = f.live OR NOT EXISTS (SELECT FROM lalafo.release_days AS d
        WHERE d.release = r.name AND d.completed_at IS NULL)"""
_USED = """
    SELECT DISTINCT r.backbone FROM lalafo.active_releases AS f
    JOIN lalafo.releases AS r ON r.name IN (f.live, f.candidate, f.previous, f.announced)"""
_DIMENSION = "SELECT vector_dims(embedding) FROM lalafo.embeddings WHERE backbone = %s LIMIT 1"


def pgvector_version(cursor: psycopg.Cursor[Any]) -> tuple[int, ...]:
    """Return the extension's version in this database, such as (0, 8, 5); () without it."""
    cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    row = cursor.fetchone()
    return () if row is None else tuple(int(part) for part in row[0].split(".") if part.isdecimal())


def start_missing(database: Database, epoch: int) -> list[SearchIndex]:
    """Add the indexes that the active releases need and that are not there; return all to build.

    Holds the row of the active releases, as every commit does: each commit has either ended before,
    and a build sees it, or queues its ads.
    """
    with database.cursor() as cursor:
        cursor.execute(_NEEDED)
        needed = {row[0] for row in cursor.fetchall()}
        known = {index.backbone: index for index in read_indexes(cursor)}
    for backbone in sorted(needed - known.keys()):
        with database.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            LEASE.check(cursor, epoch)
            cursor.execute("SELECT FROM lalafo.active_releases FOR UPDATE")
            cursor.execute(_DIMENSION, (backbone,))
            row = cursor.fetchone()
            if row is not None:
                known[backbone] = create_partition(cursor, backbone, row[0])
    return [known[name] for name in sorted(needed & known.keys()) if known[name].state != "ready"]


def create_partition(cursor: psycopg.Cursor[Any], backbone: str, dimension: int) -> SearchIndex:
    """Create the partition of a backbone, without rows and without its HNSW index."""
    name = f"ad_vectors_{hashlib.sha256(backbone.encode()).hexdigest()[:16]}"
    table, parent = sql.Identifier("lalafo", name), sql.Identifier("lalafo", "ad_vectors")
    # Vectors stay in the row: outside of it, each comparison would read two more pages.
    cursor.execute(
        sql.SQL(
            "CREATE TABLE {} (LIKE {} INCLUDING ALL) WITH (toast_tuple_target = 8160, "
            "autovacuum_vacuum_scale_factor = 0.1)"
        ).format(table, parent)
    )
    cursor.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
            parent, table, backbone
        )
    )
    cursor.execute(
        "INSERT INTO lalafo.vector_indexes (backbone, dimension, partition, state) "
        "VALUES (%s, %s, %s, 'building')",
        (backbone, dimension, name),
    )
    log.info("vectors.index_added", backbone=backbone, dimension=dimension)
    return SearchIndex(backbone, dimension, name, "building")


def build(database: Database, index: SearchIndex, epoch: int, *, workers: int = 0) -> None:
    """Build an index to its end, from whatever state it is in. A killed build is continued.

    Args:
        workers: parallel workers of PostgreSQL beside the one that builds.

    Raises:
        LeaseLostError: another indexer has the lease.
        RetryableError: the server is unavailable.
    """
    if index.state == "building":
        fill(database, index)
        create_hnsw(database, index, workers=workers)
        _set_state(database, index, "catching_up", epoch)
        index = replace(index, state="catching_up")
    fill(database, index)
    sweep(database, index)
    with database.statement() as cursor:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier("lalafo", index.partition)))
    _set_state(database, index, "ready", epoch)
    log.info("vectors.index_ready", backbone=index.backbone)


def fill(database: Database, index: SearchIndex) -> None:
    """Add the rows that are missing, in chunks; needs no fence: rows are only added, and right."""
    after: tuple[str, str] | None = ("", "")
    while after is not None:
        with database.cursor() as cursor:
            after = add_missing(cursor, index, after, limit=CHUNK_ADS)


def sweep(database: Database, index: SearchIndex) -> int:
    """Delete every stale row, in chunks; return how many."""
    removed = 0
    while True:
        with database.cursor() as cursor:
            found = remove_stale(cursor, index, limit=CHUNK_ADS)
        removed += found
        if found < CHUNK_ADS:
            return removed


def create_hnsw(
    database: Database,
    index: SearchIndex,
    *,
    workers: int = 0,
    m: int = M,
    ef_construction: int = EF_CONSTRUCTION,
) -> None:
    """Create the HNSW index of a partition unless it is there.

    The graph is built in memory: where it does not fit, PostgreSQL builds it on disk, many times
    slower, so memory for all rows is asked for, up to MAX_BUILD_MEMORY_MB.
    """
    table = sql.Identifier("lalafo", index.partition)
    with database.cursor() as cursor:
        if pgvector_version(cursor) < PARALLEL_FROM:
            workers = 0
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
        rows = int(cursor.fetchall()[0][0])
        cursor.execute(
            "SELECT set_config('maintenance_work_mem', %s, true), "
            "set_config('max_parallel_maintenance_workers', %s, true), "
            "set_config('statement_timeout', '0', true)",
            (f"{build_memory_mb(rows, index.dimension)}MB", str(workers)),
        )
        cursor.execute(
            sql.SQL(
                "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw "
                "((vector::halfvec({})) halfvec_ip_ops) WITH (m = {}, ef_construction = {})"
            ).format(sql.Identifier(hnsw_name(index)), table, index.dimension, m, ef_construction)
        )


def build_memory_mb(rows: int, dimension: int) -> int:
    """The memory in which a graph of so many rows is built, in MB."""
    return min(64 + rows * (2 * dimension + _ROW_BYTES) // 1_000_000, MAX_BUILD_MEMORY_MB)


def hnsw_name(index: SearchIndex) -> str:
    """The name of a partition's HNSW index."""
    return f"{index.partition}_hnsw_idx"


def _set_state(database: Database, index: SearchIndex, state: str, epoch: int) -> None:
    with database.cursor() as cursor:
        LEASE.check(cursor, epoch)
        cursor.execute(
            "UPDATE lalafo.vector_indexes SET state = %(state)s, "
            "ready_at = CASE WHEN %(state)s = 'ready' THEN clock_timestamp() END "
            "WHERE backbone = %(backbone)s",
            {"state": state, "backbone": index.backbone},
        )


def drop_unused(database: Database, epoch: int) -> list[str]:
    """Drop the indexes of backbones that no active or announced release has; return these.

    By DETACH and DROP, which take the same time for any number of rows. A long query that reads the
    table postpones it to a later call.
    """
    with database.cursor() as cursor:
        cursor.execute(_USED)
        used = {row[0] for row in cursor.fetchall()}
        unused = [index for index in read_indexes(cursor) if index.backbone not in used]
    dropped = []
    for index in unused if used else []:
        table = sql.Identifier("lalafo", index.partition)
        with database.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            LEASE.check(cursor, epoch)
            cursor.execute("SELECT FROM lalafo.active_releases FOR UPDATE")
            cursor.execute(_USED)
            if index.backbone in {row[0] for row in cursor.fetchall()}:
                continue
            cursor.execute(
                "DELETE FROM lalafo.vector_indexes WHERE backbone = %s", (index.backbone,)
            )
            cursor.execute(
                sql.SQL("ALTER TABLE lalafo.ad_vectors DETACH PARTITION {}").format(table)
            )
            cursor.execute(sql.SQL("DROP TABLE {}").format(table))
        dropped.append(index.backbone)
        log.info("vectors.index_dropped", backbone=index.backbone)
    return dropped
