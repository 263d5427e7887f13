"""Runs `lalafo bench duplicates --live`: from an ad's commit to its duplicates, at a rate.

Real parts: PostgreSQL, the statement of the sessions' commit, a finder and an indexer in processes
of their own, and the default network, which embeds each ad's photos in this process right before
its commit. What a stream has besides (Kafka, fetching, heads) is not there.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
from rich.console import Console

from lalafo_assets.bench.duplicates.live.ads import Ad, Photo, planned_ads
from lalafo_assets.bench.duplicates.live.process import FINDER, INDEXER, TOPIC
from lalafo_assets.bench.harness.ads import due_times
from lalafo_assets.bench.harness.cpu import POSTGRES, CpuWatch
from lalafo_assets.bench.harness.progress import ProgressDisplay
from lalafo_assets.bench.harness.workers import Worker
from lalafo_assets.bench.photos.embeddings import embeddings_of_files
from ops.errors import LalafoError
from ops.outcomes import AdOutcome, Batch, PhotoEmbedding, PhotoOutcome, Receipt
from ops.types import AdEvent, AdKey, AdStatus, EventKind, PhotoRef, Rendition
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.processes.environment import TUNING
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.storage.photos import PhotoStore

SEED = 7
CATALOG, RUN, STREAM, ADS = "kg", "bench", "bench", "ads"
RELEASE, BACKBONE = "bench-000000000001", "bench-000000000001"
AT_ONCE = 50  # ads a commit, of those that are there before
WAIT_S = 300.0
LOOK_S = 0.25
WITHIN_S = 1.0

_DECIDED = """
    SELECT ad_id, extract(epoch FROM compared_at)::float8 FROM lalafo.compared_ads
    WHERE catalog = %s"""
_WAITING = """
    SELECT (SELECT count(*) FROM lalafo.duplicate_changes),
        (SELECT count(*) FROM lalafo.vector_changes),
        (SELECT count(*) FROM lalafo.compared_ads),
        EXISTS (SELECT FROM lalafo.vector_indexes WHERE state = 'ready')"""
_PAIRS = """
    SELECT ad_id, other_id FROM lalafo.ad_pairs
    WHERE catalog = %s AND verdict IN ('exact', 'altered')"""


@dataclass(frozen=True, slots=True)
class LiveBench:
    """What to measure. `before`: ads that are there, and compared, when the others come."""

    folders: Sequence[Path]
    rate: float
    seconds: float
    before: int


class Catalogue:
    """Commits ads as a session does.

    Args:
        connection: holds the lease while it is open.
    """

    def __init__(self, database: Database, connection: psycopg.Connection[Any]) -> None:
        register(database, RegisteredRelease(RELEASE, "0" * 64, BACKBONE, {"taxonomy": {}}))
        make_live(database, RELEASE)
        self._epochs = Leases(STREAM, ADS, RUN, 3_600).acquire(connection, [0])
        self._writer = ResultWriter(database, Holder(RUN, STREAM, ADS, TOPIC))

    def commit(self, ads: Sequence[Ad]) -> float:
        """Embed and commit; returns the moment of the commit, in seconds since 1970 (UTC)."""
        photos = {photo.sha256: photo for ad in ads for photo in ad.photos}
        vectors = embeddings_of_files([photo.data for photo in photos.values()])
        batch = Batch(
            releases=(RELEASE,),
            ads=tuple(_outcome(ad) for ad in ads),
            renditions=tuple(map(_rendition, photos.values())),
            embeddings=tuple(
                PhotoEmbedding(sha256, BACKBONE, RELEASE, vector)
                for sha256, vector in zip(photos, vectors, strict=True)
            ),
            partitions=frozenset({0}),
            next_offsets={0: ads[-1].number + 1},
        )
        return self._writer.commit(batch, self._epochs).committed_at.timestamp()


def run_live(asked: LiveBench, console: Console) -> str:
    """Measure; return the JSON line.

    Raises:
        LalafoError: the finder or the indexer has ended.
    """
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        home = Path(stack.enter_context(TemporaryDirectory(prefix="lalafo-bench-")))
        postgres = EmbeddedPostgres(home)
        postgres.start()
        stack.callback(postgres.stop)
        database = stack.enter_context(closing(Database(postgres.url())))
        database.migrate()
        connection = stack.enter_context(
            psycopg.connect(database.conninfo.text("lalafo-bench"), autocommit=True)
        )
        catalogue = Catalogue(database, connection)
        live = round(asked.rate * asked.seconds)
        display.say(f"making the photos of {asked.before + live:,} ads")
        planned = list(planned_ads(asked.folders, before=asked.before, live=live, seed=SEED))
        store = PhotoStore(str(home / "photos"), fsync=False)
        for ad in planned:
            for photo in ad.photos:
                store.put("renditions", photo.sha256, photo.data)
        before, coming = planned[: asked.before], planned[asked.before :]
        for start in range(0, len(before), AT_ONCE):
            catalogue.commit(before[start : start + AT_ONCE])
            display.step("ads before", start, len(before))
        finder, indexer = (
            stack.enter_context(_worker(kind, database, home)) for kind in (FINDER, INDEXER)
        )
        for worker in (finder, indexer):
            worker.answer()
        _wait(database, len(before), (finder, indexer), display)
        roots = {FINDER: [finder.pid], INDEXER: [indexer.pid], POSTGRES: [postgres.pid or 0]}
        watch = CpuWatch(roots, set)
        committed, late, depths = _send(catalogue, database, coming, asked.rate, display)
        _wait(database, len(planned), (finder, indexer), display)
        used = watch.used_s()
        counts = finder.end()
        return json.dumps(
            {
                "bench": "duplicates --live",
                "ads": len(coming),
                "photos": sum(len(ad.photos) for ad in coming),
                "before": len(before),
                "rate": asked.rate,
                **_latencies(database, committed),
                "late_p99_ms": round(float(np.percentile(late, 99)) * 1e3),
                "waiting_most": max(depths),
                "cpu_ms_an_ad": {
                    name: round(used[name] / len(coming) * 1e3, 1) for name in sorted(roots)
                },
                **_found(database, planned),
                "counts": counts,
                "cores": len(os.sched_getaffinity(0)),
                "load_average": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            }
        )


def _worker(kind: str, database: Database, home: Path) -> Worker:
    task = {
        "kind": kind,
        "url": database.url.render_as_string(False),
        "photos": str(home / "photos"),
    }
    return Worker(
        "lalafo_assets.bench.duplicates.live.process",
        task,
        log_file=home / "logs" / f"{kind}.log",
        environment=TUNING,
    )


def _wait(
    database: Database, ads: int, workers: Sequence[Worker], display: ProgressDisplay
) -> None:
    """Wait until every ad is decided, and the vectors are indexed."""
    deadline = time.monotonic() + WAIT_S
    while True:
        waiting, vectors, compared, ready = _waiting(database)
        display.step(f"{ads:,} ads decided", compared, ads)
        if compared >= ads and not waiting and not vectors and ready:
            return
        for worker in workers:
            if not worker.is_running():
                worker.answer()  # raises with the last lines of its log
        if time.monotonic() > deadline:
            raise LalafoError(f"{waiting} changes of {ads} ads still wait after {WAIT_S:.0f} s")
        time.sleep(LOOK_S)


def _waiting(database: Database) -> tuple[int, int, int, bool]:
    with database.cursor() as cursor:
        found: tuple[int, int, int, bool] = cursor.execute(_WAITING).fetchall()[0]
        return found


def _send(
    catalogue: Catalogue,
    database: Database,
    ads: Sequence[Ad],
    rate: float,
    display: ProgressDisplay,
) -> tuple[dict[str, float], list[float], list[int]]:
    """Commit each ad when it is due; its moment of commit, how late it was, and what waited."""
    committed: dict[str, float] = {}
    late: list[float] = []
    depths: list[int] = []
    began, looked = time.monotonic(), 0.0
    for ad, due_s in zip(ads, due_times(len(ads), rate, seed=SEED), strict=True):
        time.sleep(max(0.0, began + due_s - time.monotonic()))
        late.append(time.monotonic() - began - due_s)
        committed[ad.ad_id] = catalogue.commit([ad])
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            depths.append(_waiting(database)[0])
            display.step("ads", len(committed), len(ads))
    return committed, late, depths


def _latencies(database: Database, committed: dict[str, float]) -> dict[str, Any]:
    """From the commit to the decision."""
    with database.cursor() as cursor:
        decided = dict(cursor.execute(_DECIDED, (CATALOG,)).fetchall())
    times = np.array([decided[ad_id] - at for ad_id, at in committed.items()])
    return {
        **{f"decided_p{p}_ms": round(float(np.percentile(times, p)) * 1e3) for p in (50, 90, 99)},
        "decided_max_ms": round(float(times.max()) * 1e3),
        "decided_within_1_s": round(float((times <= WITHIN_S).mean()), 4),
    }


def _found(database: Database, planned: Sequence[Ad]) -> dict[str, Any]:
    """How many of the altered copies were found, by alteration; other pairs with one photo."""
    with database.cursor() as cursor:
        pairs = {frozenset(pair) for pair in cursor.execute(_PAIRS, (CATALOG,)).fetchall()}
    by_id = {ad.number: ad.ad_id for ad in planned}
    found: dict[str, list[bool]] = {}
    expected = set()
    for ad in planned:
        if ad.original is not None:
            pair = frozenset((ad.ad_id, by_id[ad.original]))
            expected.add(pair)
            found.setdefault(ad.altered_by, []).append(pair in pairs)
    return {
        "copies": sum(map(len, found.values())),
        "copies_found": sum(map(sum, found.values())),
        "missed": {name: some.count(False) for name, some in found.items() if not all(some)},
        "other_pairs": len(pairs - expected),
    }


def _outcome(ad: Ad) -> AdOutcome:
    now = datetime.now(UTC)
    refs = tuple(PhotoRef(sha256=photo.sha256) for photo in ad.photos)
    sent = AdEvent(
        key=AdKey(CATALOG, ad.ad_id),
        kind=EventKind.UPSERTED,
        event_id=f"e-{ad.ad_id}",
        revision=1,
        occurred_at=now,
        title=f"Offer {ad.ad_id}, little used",
        photos=refs,
        seller=ad.seller,
    )
    return AdOutcome(
        event=sent,
        receipt=Receipt(
            topic=ADS,
            partition=0,
            offset=ad.number,
            day=now.date(),
            kafka_at=now,
            received_at=now,
            timestamp_trusted=True,
        ),
        status=AdStatus.SCORED,
        photos=tuple(PhotoOutcome(ref, ref.sha256, None) for ref in refs),
    )


def _rendition(photo: Photo) -> Rendition:
    return Rendition(
        photo_sha256=photo.sha256,
        sha256=photo.sha256,
        data=photo.data,
        width=photo.width,
        height=photo.height,
        source_format="jpeg",
        source_width=photo.width,
        source_height=photo.height,
        source_bytes=len(photo.data),
    )
