"""Runs `lalafo bench search`: fills, builds, searches, replaces 30 % of the ads, searches again."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from rich.console import Console

from lalafo_assets.bench.harness.progress import ProgressDisplay
from lalafo_assets.bench.search.fill import BACKBONE, Halves, Vectors, copy_vectors, fill_ads
from lalafo_assets.bench.search.fill import put_vectors as put
from lalafo_assets.bench.search.together import search_together
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.vector_search import indexes
from resources.vector_search.queries import Filters, Page, Query, SearchIndex, steps

NEAREST = 10
REPLACED = 0.3
FILTERS = {
    "all": Filters(),
    "tenth": Filters(category="c3"),
    "hundredth": Filters(seller="s37"),
}
_MODULO = {"all": (1, 0), "tenth": (10, 3), "hundredth": (100, 37)}
_QUERY_SEED, _REPLACED_SEED = 10**6, 2 * 10**6
_EXACT_CHUNK = 50_000
_REPLACED_TOGETHER = 500  # vectors, in turn


@dataclass(frozen=True, slots=True)
class SearchBench:
    """What to measure."""

    rows: int
    dimension: int
    queries: int
    workers: int
    m: int
    ef_construction: int
    ef_search: tuple[int, ...]
    shared_buffers: str
    clients: int
    replaced_per_s: float
    seconds: float
    photos: tuple[Path, ...] = ()


@dataclass(slots=True)
class _Catalogue:
    """The ads by number: their vectors and revisions."""

    database: Database
    index: SearchIndex
    vectors: Halves
    queries: Halves
    photos: Halves | None = None  # to search with, besides


def run_search(asked: SearchBench, console: Console) -> str:
    """Measure; return the JSON line."""
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        home = Path(stack.enter_context(TemporaryDirectory(prefix="lalafo-bench-")))
        overrides = {"shared_buffers": asked.shared_buffers} if asked.shared_buffers else {}
        postgres = EmbeddedPostgres(home, overrides=overrides)
        postgres.start()
        stack.callback(postgres.stop)
        database = stack.enter_context(closing(Database(postgres.url())))
        database.migrate()
        found: dict[str, Any] = {"bench": "search", **asdict(asked)}
        found["photos"] = [str(folder) for folder in asked.photos]
        found |= {"cores": os.cpu_count(), "machine": platform.machine()}
        catalogue, found["build"] = _built(asked, database, display)
        found["before"] = _searched(asked, catalogue, display, "before")
        found["replacing"] = _replaced(asked, catalogue, display)
        found["after"] = _searched(asked, catalogue, display, "after 30 % were replaced")
        if asked.clients > 0:
            display.say(f"{asked.clients} clients, while ads are replaced")
            found["together"] = _together(asked, catalogue)
        return json.dumps(found)


def _built(
    asked: SearchBench, database: Database, display: ProgressDisplay
) -> tuple[_Catalogue, dict[str, Any]]:
    generator = Vectors(asked.rows, asked.dimension)
    index = _partition(database, asked.dimension)
    display.say("filling")
    began = time.perf_counter()
    fill_ads(database, asked.rows)
    vectors = np.empty((asked.rows, asked.dimension), np.float16)
    for start in range(0, asked.rows, _EXACT_CHUNK):
        part = vectors[start : start + _EXACT_CHUNK]
        part[:] = generator.draw(len(part), seed=start)
    photos = None
    if asked.photos:
        from lalafo_assets.bench.search.real import real_vectors  # it imports torch

        display.say("embedding the photos")
        real, photos = real_vectors(asked.photos, asked.dimension)
        vectors[: len(real)] = real[: asked.rows]
        photos = photos[: asked.queries]
    numbers = np.arange(asked.rows)
    put(database, index, vectors, numbers, done=lambda n: display.step("rows", n, asked.rows))
    filled_s = time.perf_counter() - began
    display.say("building the index")
    began = time.perf_counter()
    indexes.create_hnsw(
        *(database, index),
        workers=asked.workers,
        m=asked.m,
        ef_construction=asked.ef_construction,
    )
    built_s = time.perf_counter() - began
    with database.statement() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) lalafo.{index.partition}")
        cursor.execute("VACUUM (ANALYZE) lalafo.ads")
    catalogue = _Catalogue(
        database, index, vectors, generator.draw(asked.queries, seed=_QUERY_SEED), photos
    )
    figures = {"fill_s": round(filled_s, 1), "index_s": round(built_s, 1)}
    return catalogue, figures | _sizes(catalogue)


def _partition(database: Database, dimension: int) -> SearchIndex:
    with database.cursor() as cursor:
        return indexes.create_partition(cursor, BACKBONE, dimension)


def _sizes(catalogue: _Catalogue) -> dict[str, int]:
    with catalogue.database.cursor() as cursor:
        cursor.execute(
            "SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass), "
            "pg_relation_size(%s::regclass)",
            (
                f"lalafo.{catalogue.index.partition}",
                f"lalafo.{catalogue.index.partition}",
                f"lalafo.{indexes.hnsw_name(catalogue.index)}",
            ),
        )
        table, all_indexes, hnsw = cursor.fetchall()[0]
    return {"table_bytes": table, "indexes_bytes": all_indexes, "hnsw_bytes": hnsw}


def _searched(
    asked: SearchBench, catalogue: _Catalogue, display: ProgressDisplay, when: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    conninfo = catalogue.database.conninfo.text("lalafo-bench")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        kinds = {name: (filters, catalogue.queries) for name, filters in FILTERS.items()}
        if catalogue.photos is not None:
            kinds["photos"] = (Filters(), catalogue.photos)
        for name, (filters, queries) in kinds.items():
            display.say(f"{when}: {name}")
            wanted = _nearest(catalogue, queries, *_MODULO.get(name, (1, 0)))
            for ef_search in asked.ef_search:
                key = name if ef_search == 0 else f"{name}, ef_search {ef_search}"
                searches = zip(queries, wanted, strict=True)
                found[key] = _measured(
                    connection, catalogue.index, list(searches), filters, ef_search
                )
    return found


def _measured(
    connection: psycopg.Connection[Any],
    index: SearchIndex,
    searches: Sequence[tuple[NDArray[np.float16], set[int]]],
    filters: Filters,
    ef_search: int,
) -> dict[str, Any]:
    """Search once to warm up, then measure.

    Args:
        searches: vectors, each with the numbers of the ads that are to be found.
    """
    exact = None if ef_search == 0 else False
    times: list[float] = []
    for _ in range(2):
        hits, times, exact_pages = 0, [], 0
        for vector, nearest in searches:
            query = Query(_text(vector), filters, NEAREST, exact=exact, ef_search=ef_search or None)
            began = time.perf_counter()
            page = _page(connection, index, query)
            times.append((time.perf_counter() - began) * 1e3)
            hits += len({int(ad.ad_id) for ad in page.ads} & nearest)
            exact_pages += page.exact
    return {
        "recall_at_10": round(hits / sum(len(nearest) for _, nearest in searches), 4),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "exact": exact_pages / len(times),
        "plan": _plan(connection, index, query),
    }


def _page(connection: psycopg.Connection[Any], index: SearchIndex, query: Query) -> Page:
    return _run(connection, index, query, lambda statement, values: (statement, values))


def _run(
    connection: psycopg.Connection[Any],
    index: SearchIndex,
    query: Query,
    seen: Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]],
) -> Page:
    running = steps(index, query)
    with connection.transaction():
        statement, values = next(running)
        while True:
            statement, values = seen(statement, values)
            rows = connection.execute(statement, values, prepare=False).fetchall()
            try:
                statement, values = running.send(rows)
            except StopIteration as end:
                page: Page = end.value
                return page


def _plan(connection: psycopg.Connection[Any], index: SearchIndex, query: Query) -> list[str]:
    """The nodes of the last statement's plan, the outermost first."""
    nodes: list[str] = []

    def explain(statement: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if "similarity" in statement:
            rows = connection.execute(f"EXPLAIN {statement}", values, prepare=False).fetchall()
            nodes[:] = [
                row[0].strip().removeprefix("->  ").partition("  (")[0]
                for row in rows
                if "->" in row[0] or not row[0].startswith(" ")
            ]
        return statement, values

    _run(connection, index, query, explain)
    return nodes


def _nearest(catalogue: _Catalogue, vectors: Halves, modulo: int, rest: int) -> list[set[int]]:
    """The numbers of the ads nearest to each vector, by comparing all with this remainder."""
    queries = vectors.astype(np.float32)
    best: NDArray[np.float32] = np.full((len(queries), 0), 0, np.float32)
    numbers: NDArray[np.int64] = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(catalogue.vectors), _EXACT_CHUNK):
        of_part = np.arange(start, min(start + _EXACT_CHUNK, len(catalogue.vectors)))
        of_part = of_part[of_part % modulo == rest]
        found = queries @ catalogue.vectors[of_part].astype(np.float32).T
        best = np.hstack([best, found])
        numbers = np.hstack([numbers, np.broadcast_to(of_part, found.shape)])
        kept = np.argsort(-best, axis=1)[:, :NEAREST]
        best = np.take_along_axis(best, kept, axis=1)
        numbers = np.take_along_axis(numbers, kept, axis=1)
    return [set(row.tolist()) for row in numbers]


def _together(asked: SearchBench, catalogue: _Catalogue) -> dict[str, Any]:
    """Search as many clients at once, without a filter, while ads are replaced."""
    rng = np.random.default_rng(12)
    vectors = Vectors(asked.rows, asked.dimension).draw(_REPLACED_TOGETHER, seed=_REPLACED_SEED + 1)
    revisions: dict[int, int] = {}

    def search(text: str) -> Callable[[psycopg.Connection[Any]], object]:
        query = Query(text, Filters(), NEAREST)
        return lambda connection: _page(connection, catalogue.index, query)

    def replace() -> None:
        number = int(rng.integers(asked.rows))
        revisions[number] = revisions.get(number, 2) + 1
        vector = vectors[[int(rng.integers(len(vectors)))]]
        _replace(catalogue, [number], vector, revisions[number])

    return search_together(
        catalogue.database,
        [search(_text(vector)) for vector in catalogue.queries],
        replace,
        clients=asked.clients,
        replaced_per_s=asked.replaced_per_s,
        seconds=asked.seconds,
    )


def _text(vector: NDArray[np.float16]) -> str:
    """A vector as pgvector's text."""
    return "[" + ",".join(f"{value:.6f}" for value in vector.tolist()) + "]"


def _replace(catalogue: _Catalogue, numbers: Sequence[int], vectors: Halves, revision: int) -> None:
    """Give ads another revision with other vectors, in one transaction."""
    ids = [f"{number:09d}" for number in numbers]
    partition = catalogue.index.partition
    with catalogue.database.cursor() as cursor:
        for change in ("UPDATE lalafo.ads SET revision = %s", f"DELETE FROM lalafo.{partition}"):
            values = (revision, ids) if "SET" in change else (ids,)
            cursor.execute(f"{change} WHERE catalog = 'kg' AND ad_id = ANY(%s)", values)
        copy_vectors(cursor, catalogue.index, vectors, np.asarray(numbers), revision)


def _replaced(
    asked: SearchBench, catalogue: _Catalogue, display: ProgressDisplay
) -> dict[str, Any]:
    """Give 30 % of the ads another revision, with another vector: delete and insert."""
    rng = np.random.default_rng(11)
    chosen = np.sort(rng.permutation(asked.rows)[: int(asked.rows * REPLACED)])
    vectors = Vectors(asked.rows, asked.dimension).draw(len(chosen), seed=_REPLACED_SEED)
    batch = 500
    began = time.perf_counter()
    for start in range(0, len(chosen), batch):
        part = chosen[start : start + batch]
        _replace(catalogue, part.tolist(), vectors[start : start + batch], 2)
        display.step("replaced", start + len(part), len(chosen))
    seconds = time.perf_counter() - began
    catalogue.vectors[chosen] = vectors
    return {
        "ads": len(chosen),
        "ads_per_s": round(len(chosen) / seconds, 1),
        **_sizes(catalogue),
    }
