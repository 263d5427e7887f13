"""Figures of the indexes and of the queue before them, for people and for Dagster."""

from dataclasses import dataclass

from psycopg import sql

from resources.changes.metrics import Queue
from resources.postgres.database import Database
from resources.vector_search.ad_vectors import read_indexes
from resources.vector_search.indexes import hnsw_name
from resources.vector_search.queries import SearchIndex


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """One index. The number of rows is PostgreSQL's estimate."""

    index: SearchIndex
    rows: int
    table_bytes: int  # without indexes
    graph_bytes: int  # 0: the graph is not created yet


def index_figures(database: Database) -> list[IndexFigures]:
    """The figures of every index, by backbone."""
    with database.cursor() as cursor:
        found = []
        for index in sorted(read_indexes(cursor), key=lambda index: index.backbone):
            cursor.execute(
                sql.SQL(
                    "SELECT greatest(c.reltuples, 0)::bigint, pg_table_size(c.oid), "
                    "coalesce(pg_relation_size(to_regclass({})), 0) "
                    "FROM pg_class AS c WHERE c.oid = to_regclass({})"
                ).format(
                    sql.Literal(f"lalafo.{hnsw_name(index)}"),
                    sql.Literal(f"lalafo.{index.partition}"),
                )
            )
            found += [IndexFigures(index, *row) for row in cursor.fetchall()]
        return found


def queue(database: Database) -> Queue:
    """How many changes wait, and for how long the first one has."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)"
            "::float8 FROM lalafo.vector_changes"
        )
        return Queue(*cursor.fetchall()[0])
