"""Measures how long the candidates of an ad take, with ever more ads in PostgreSQL.

The hashes are random. Of each size half of the searches have a photo whose hash is near; the others
find nothing, and look for 268 keys too.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from rich.console import Console

from lalafo_assets.bench.harness.progress import ProgressDisplay
from ops.duplicates.pdq import Pdq
from ops.types import AdKey
from resources.duplicates import candidates
from resources.duplicates.stored_ads import StoredAd, read_ads
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database

SELLERS = 1_000
NEAR_BITS = 6
CATALOG = "kg"
_INDEX = "photo_hashes_words_idx"

_ROWS = "generate_series(%(first)s::int, %(last)s::int - 1) AS n"
_ID, _PHOTO = "lpad(n::text, 9, '0')", "sha256(n::text::bytea)"
_MOMENT = "timestamptz '2026-05-01 00:00+00' + n * interval '1 second'"
_FILL = (
    "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, event_id, "
    'occurred_at, kafka_at, received_at, stream_id, topic, partition, "offset", run_id, seller) '
    f"SELECT 'kg', {_ID}, 1, '2026-05-01', 'scored', 'Offer ' || n, '', n, {_MOMENT}, {_MOMENT}, "
    f"{_MOMENT}, 'bench', 'ads', 0, n, 'bench', 's' || n %% {SELLERS} FROM {_ROWS}",
    "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
    "source_format, source_width, source_height, source_bytes, run_id) "
    f"SELECT {_PHOTO}, {_PHOTO}, 1, 1, 1, 'jpeg', 1, 1, 1, 'bench' FROM {_ROWS}",
    "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, revision, run_id) "
    f"SELECT 'kg', {_ID}, 0, {_PHOTO}, 1, 'bench' FROM {_ROWS}",
    "INSERT INTO lalafo.compared_ads (catalog, ad_id, revision, seller, received_at, photos, "
    f"common, version) SELECT 'kg', {_ID}, 1, 's' || n %% {SELLERS}, {_MOMENT}, "
    f"ARRAY[{_PHOTO}], '{{}}', 1 FROM {_ROWS}",
)


def run_growth(sizes: Sequence[int], *, searches: int, console: Console) -> str:
    """Measure at each number of ads, the smallest first; return the JSON line."""
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        home = Path(stack.enter_context(TemporaryDirectory(prefix="lalafo-bench-")))
        postgres = EmbeddedPostgres(home)
        postgres.start()
        stack.callback(postgres.stop)
        database = stack.enter_context(closing(Database(postgres.url())))
        database.migrate()
        rng = np.random.default_rng(7)
        hashes = rng.integers(0, 256, (max(sizes), 32), dtype=np.uint8)
        found, filled = [], 0
        for size in sorted(sizes):
            display.say(f"filling {size:,} ads")
            _fill(database, hashes, filled, size)
            filled = size
            found.append({"ads": size, **_measured(database, hashes[:size], searches)})
        return json.dumps(
            {
                "bench": "duplicates",
                "searches": searches,
                "sizes": found,
                "cores": os.cpu_count(),
                "machine": platform.machine(),
            }
        )


def _fill(database: Database, hashes: NDArray[np.uint8], first: int, last: int) -> None:
    """Add ads up to `last`; the index of keys is made anew, since it is fastest to fill so."""
    with database.cursor() as cursor:
        definition = cursor.execute(
            "SELECT pg_get_indexdef(%s::regclass)", (f"lalafo.{_INDEX}",)
        ).fetchall()[0][0]
        cursor.execute(f"DROP INDEX lalafo.{_INDEX}")
        for statement in _FILL:
            cursor.execute(statement, {"first": first, "last": last})
        with cursor.copy("COPY lalafo.photo_hashes (sha256, pdq, quality) FROM STDIN") as to:
            for number in range(first, last):
                pdq = hashes[number].tobytes()
                to.write_row((_photo(number), candidates.bits_of(pdq), 90))
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute(definition)
    with database.statement() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _photo(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _measured(database: Database, hashes: NDArray[np.uint8], searches: int) -> dict[str, Any]:
    """Milliseconds of each look-up, by its name: median and 99th percentile."""
    rng = np.random.default_rng(11)
    chosen = rng.choice(len(hashes), searches, replace=False)
    times: dict[str, list[float]] = {}
    with database.cursor() as cursor:
        cursor.execute(candidates.LOOK_UPS)
        for place, number in enumerate(chosen.tolist()):
            key = AdKey(CATALOG, f"{number:09d}")
            ad = read_ads(cursor, CATALOG, [key.ad_id])[key.ad_id]
            near = place % 2 == 0
            row = hashes[(number + 1) % len(hashes)] if near else rng.integers(0, 256, 32)
            _search(cursor, ad, _beside(np.asarray(row, np.uint8), rng), near, times)
    return {
        name: {"p50_ms": _of(values, 50), "p99_ms": _of(values, 99)}
        for name, values in times.items()
    }


def _beside(row: NDArray[np.uint8], rng: np.random.Generator) -> Pdq:
    """A hash that differs in NEAR_BITS bits."""
    bits = np.unpackbits(row)
    bits[rng.choice(len(bits), NEAR_BITS, replace=False)] ^= 1
    return Pdq(np.packbits(bits).tobytes(), rng.bytes(32), 90)


def _search(
    cursor: psycopg.Cursor[Any],
    ad: StoredAd,
    pdq: Pdq,
    near: bool,
    times: dict[str, list[float]],
) -> None:
    photos = list(ad.photos)
    look_ups: dict[str, Callable[[], list[str]]] = {
        "same_bytes": lambda: candidates.with_same_bytes(cursor, ad.key, photos),
        "near_hash" if near else "no_near_hash": lambda: candidates.with_near_hashes(
            cursor, ad.key, {photos[0]: pdq}
        ),
        "seller": lambda: candidates.of_seller(cursor, ad),
        "partners": lambda: candidates.partners(cursor, ad.key),
    }
    whole = 0.0
    for name, look_up in look_ups.items():
        began = time.perf_counter()
        found = look_up()
        took = (time.perf_counter() - began) * 1e3
        assert name != "near_hash" or found, "the near photo was not found"
        times.setdefault(name, []).append(took)
        whole += took
    times.setdefault("all", []).append(whole)


def _of(values: Sequence[float], percentile: float) -> float:
    return round(float(np.percentile(values, percentile)), 2)
