"""Maintenance of ready indexes: rows that are missing or stale, and graphs that have grown.

Each indexer does it once, when it has the lease. Rows are missing after sessions of a version that
does not queue them, and stale after one that was killed while it built.
"""

from dataclasses import dataclass

import structlog
from psycopg import sql

from resources.postgres.database import Database
from resources.vector_search.indexes import (
    M,
    build_memory_mb,
    fill,
    hnsw_name,
    sweep,
)
from resources.vector_search.queries import SearchIndex

GROWN = 2.0
"""A graph of more than so many times the bytes of a new one is rebuilt: deleted rows stay in it
until a vacuum, and their places are used again only by later rows."""

_PAGE, _PAGE_ROOM = 8_192, 8_150  # bytes
_ELEMENT_BYTES = 110  # of an element besides its vector
_NEIGHBOUR_BYTES = 6  # of a link; there are 2 m on the lowest level
_SMALL_BYTES = 16_000_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to an index."""

    stale: int  # rows that were deleted
    rows: int
    graph_bytes: int
    rebuilt: bool


def maintain(database: Database, index: SearchIndex) -> Maintained:
    """Add missing rows, delete stale ones, and rebuild a graph that has grown.

    Searches and the indexer go on meanwhile. An interrupted rebuild leaves an invalid index beside
    the old one; the next call drops it.

    Raises:
        RetryableError: the server is unavailable.
    """
    fill(database, index)
    stale = sweep(database, index)
    with database.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT count(*), pg_relation_size({}::regclass) FROM {}").format(
                sql.Literal(f"lalafo.{hnsw_name(index)}"), sql.Identifier("lalafo", index.partition)
            )
        )
        rows, graph_bytes = cursor.fetchall()[0]
    grown = graph_bytes > GROWN * rows * row_bytes(index.dimension) + _SMALL_BYTES
    if grown:
        rebuild(database, index, rows)
    done = Maintained(stale, rows, graph_bytes, grown)
    log.info(
        "vectors.maintained",
        backbone=index.backbone,
        **{"stale": stale, "rows": rows, "graph_bytes": graph_bytes, "rebuilt": grown},
    )
    return done


def row_bytes(dimension: int) -> float:
    """The bytes of a row in a new graph: a page has a whole number of rows."""
    row = 2 * dimension + _ELEMENT_BYTES + 2 * M * _NEIGHBOUR_BYTES
    return _PAGE / max(1, _PAGE_ROOM // row)


def rebuild(database: Database, index: SearchIndex, rows: int) -> None:
    """Rebuild a graph beside itself, and drop what an interrupted rebuild has left."""
    name = hnsw_name(index)
    with database.errors(), database.connect_directly("lalafo-vectors") as connection:
        left = connection.execute(
            "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
            "WHERE c.relnamespace = 'lalafo'::regnamespace AND NOT i.indisvalid "
            "AND starts_with(c.relname, %s)",
            (f"{name}_ccnew",),
        ).fetchall()
        for (of,) in left:
            connection.execute(
                sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier("lalafo", of))
            )
        memory = build_memory_mb(rows, index.dimension)
        connection.execute(
            "SELECT set_config('maintenance_work_mem', %s, false), "
            "set_config('max_parallel_maintenance_workers', '0', false)",
            (f"{memory}MB",),
        )
        connection.execute(
            sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier("lalafo", name))
        )
