"""The indexer: killed at any moment, beside another, through a promotion; and what it builds."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from lalafo_assets.commands.doctor import Grade, diagnose_pgvector
from ops.errors import LeaseLostError
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register
from resources.vector_search import indexes, maintenance
from resources.vector_search.ad_vectors import follow, read_indexes
from resources.vector_search.queries import Query, SearchIndex
from tests.integration.resources.vector_search.conftest import Followed
from tests.support.batches import BACKBONE
from tests.support.vector_ads import (
    Seller,
    indexer_epoch,
    keys_of,
    rows_of,
    search,
    text_of,
)

VECTOR = [1.0] + [0.0] * 7
DRILL = os.environ.get("LALAFO_DRILL") == "1"
KILLS, CHANGES, ADS = (10, 1_000, 2_000) if DRILL else (3, 100, 80)  # changes of one life
WITHIN_S = 600.0 if DRILL else 90.0


def await_(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


@contextmanager
def indexer(database: Database, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """An indexer's process, killed at the end."""
    url = database.url.render_as_string()
    command = [sys.executable, "-m", "tests.support.indexer_process", url, run_id, "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def is_idle(database: Database) -> bool:
    """Whether the index is ready and nothing is queued."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM lalafo.vector_changes) = 0 AND "
            "(SELECT bool_and(state = 'ready') FROM lalafo.vector_indexes)"
        )
        return bool(cursor.fetchall()[0][0])


def only_index(database: Database) -> SearchIndex:
    with database.cursor() as cursor:
        (index,) = read_indexes(cursor)
        return index


def rebuilt(database: Database, connection: psycopg.Connection[Any]) -> set[tuple[Any, ...]]:
    """The rows of the index, made anew."""
    index = only_index(database)
    epoch = indexer_epoch(connection, "rebuilder")
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.vector_indexes")
        cursor.execute(f"DROP TABLE lalafo.{index.partition}")
    for found in indexes.start_missing(database, epoch):
        indexes.build(database, found, epoch)
    return rows_of(database, only_index(database))


@pytest.mark.slow
@pytest.mark.timeout(3_600 if DRILL else 300)
def test_a_killed_indexer_leaves_what_a_new_one_makes(
    seller: Seller, connection: psycopg.Connection[Any]
) -> None:
    """Killed while ads are put, changed and deleted; the next one goes on where it ended."""
    database, rng = seller.database, random.Random(5)
    revisions: dict[str, int] = {}
    for number in range(50):
        seller.put(f"{number}", photos=1 + number % 3)
        revisions[f"{number}"] = 1
    for life in range(KILLS):
        with indexer(database, f"indexer-{life}") as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("joined")
            if life == 0:
                await_(lambda: is_idle(database))
            for _ in range(CHANGES):
                ad_id = f"{rng.randrange(ADS)}"
                revisions[ad_id] = revisions.get(ad_id, 0) + 1
                if rng.random() < 0.2:
                    seller.delete(ad_id, revisions[ad_id])
                else:
                    seller.put(ad_id, revisions[ad_id], photos=rng.choice((1, 3)))
    with indexer(database, "indexer-last"):
        await_(lambda: is_idle(database))
    index = only_index(database)
    found = rows_of(database, index)
    page = search(database, index, Query(text_of(VECTOR), limit=100, exact=True))
    nearest = sorted((float(vector[0]) for vector in seller.ads.values()), reverse=True)[:100]
    assert [ad.similarity for ad in page.ads] == pytest.approx(nearest, abs=2e-3)  # halfvec
    for ad in page.ads:  # that is not deleted, and with its present vector
        assert seller.ads[ad.catalog, ad.ad_id][0] == pytest.approx(ad.similarity, abs=2e-3)
    assert found == rebuilt(database, connection)


@pytest.mark.slow
def test_of_two_indexers_one_works(seller: Seller) -> None:
    """The second leaves; after the death of the first, the next has the lease at once."""
    database = seller.database
    for number in range(5):
        seller.put(f"{number}")

    def holder() -> str | None:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT run_id FROM lalafo.leases WHERE topic = 'lalafo.ad_vectors' "
                "AND expires_at > clock_timestamp()"
            )
            row = cursor.fetchone()
            return None if row is None else str(row[0])

    with indexer(database, "first") as first:
        await_(lambda: is_idle(database))
        with indexer(database, "second") as second:
            assert second.wait(WITHIN_S) == 0
        assert holder() == "first"
        seller.put("5")
        await_(lambda: is_idle(database))
        first.kill()
        with indexer(database, "third"):
            seller.put("6")
            await_(lambda: holder() == "third" and is_idle(database))
    page = search(database, only_index(database), Query(text_of(VECTOR), limit=9))
    assert keys_of(page.ads) == seller.nearest(VECTOR, 9)


def test_an_indexer_without_the_lease_changes_nothing(
    seller: Seller, followed: Followed, connection: psycopg.Connection[Any]
) -> None:
    """Its transaction takes nothing from the queue; nor does it start or end a build."""
    seller.put("1")
    index = followed.build()
    seller.put("2")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lalafo.leases SET expires_at = now() WHERE topic LIKE 'lalafo.%'")
    newer = indexer_epoch(connection, "newer")
    before = rows_of(seller.database, index)
    with pytest.raises(LeaseLostError), seller.database.cursor() as opened:
        follow(opened, followed.epoch, limit=10)
    assert rows_of(seller.database, index) == before
    with pytest.raises(LeaseLostError):
        indexes.build(seller.database, index, followed.epoch)
    with seller.database.cursor() as opened:
        assert len(follow(opened, newer, limit=10)) == 1
    assert len(rows_of(seller.database, index)) == 2


def test_a_promotion_to_another_backbone(seller: Seller, followed: Followed) -> None:
    """The new backbone's index is built beside the old one, which is dropped when unused."""
    for number in range(6):
        seller.put(f"{number}")
    old, database = followed.build(), seller.database
    other = "other-bbbbbbbbbbbb"
    name = "other-000000000002"
    digest = hashlib.sha256(name.encode()).hexdigest()
    register(database, RegisteredRelease(name, digest, other, {"metrics": {}}))
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id) "
            "SELECT %s, sha256, '[1,0]', %s, 'run-1' FROM lalafo.embeddings",
            (other, name),
        )
        cursor.execute("UPDATE lalafo.active_releases SET candidate = %s", (name,))
        cursor.execute(
            "INSERT INTO lalafo.release_days (release, day) VALUES (%s, current_date)", (name,)
        )
    assert indexes.start_missing(database, followed.epoch) == [], "its days are not complete"
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.release_days SET completed_at = now()")
    for index in indexes.start_missing(database, followed.epoch):
        indexes.build(database, index, followed.epoch)
    new = next(index for index in followed.indexes() if index.backbone == other)
    assert (new.dimension, new.state) == (2, "ready")
    assert len(search(database, new, Query("[1,0]", limit=9)).ads) == 6
    assert len(search(database, old, Query(text_of(VECTOR), limit=9)).ads) == 6
    assert indexes.drop_unused(database, followed.epoch) == []
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.active_releases SET live = %s, candidate = NULL", (name,))
    assert indexes.drop_unused(database, followed.epoch) == [BACKBONE]
    assert followed.indexes() == [new]
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*), min(vector_dims(vector)) FROM lalafo.ad_vectors")
        assert cursor.fetchone() == (6, 2)


def test_maintenance_adds_deletes_and_rebuilds(
    seller: Seller, followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody queued is added, and what nobody finds deleted; a grown graph is made anew."""
    for number in range(10):
        seller.put(f"{number}")
    index, database = followed.build(), seller.database
    seller.put("3", 2, photos=3)
    seller.put("new")
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.vector_changes")
    done = maintenance.maintain(database, index)
    assert (done.stale, done.rows, done.rebuilt) == (0, 11, False)
    assert len(rows_of(database, index)) == 11
    monkeypatch.setattr(maintenance, "_SMALL_BYTES", 0)
    monkeypatch.setattr(maintenance, "GROWN", 0.0)
    seller.delete("5", 2)
    done = maintenance.maintain(database, index)
    assert (done.stale, done.rows, done.rebuilt) == (1, 10, True)
    page = search(database, index, Query(text_of(VECTOR), limit=9, exact=False, ef_search=100))
    assert not page.exact
    assert keys_of(page.ads) == seller.nearest(VECTOR, 9)


def test_a_build_that_was_killed_is_continued(seller: Seller, followed: Followed) -> None:
    """In any state; changes of the meantime, which it did not follow, are caught up with."""
    for number in range(10):
        seller.put(f"{number}")
    database = seller.database
    (index,) = indexes.start_missing(database, followed.epoch)
    indexes.fill(database, index)
    indexes.create_hnsw(database, index)
    seller.put("3", 2, photos=3)
    seller.put("new")
    seller.delete("4", 2)
    followed.follow()
    (again,) = indexes.start_missing(database, followed.epoch)
    assert again.state == "building"
    indexes.build(database, again, followed.epoch)
    page = search(database, again, Query(text_of(VECTOR), limit=20))
    assert keys_of(page.ads) == seller.nearest(VECTOR, 20)
    assert len(rows_of(database, again)) == 10


@pytest.mark.parametrize(
    ("version", "grade", "names"),
    [
        ("0.8.5", Grade.OK, "0.8.5"),
        ("0.8.3", Grade.DEGRADED, "vacuum"),
        ("0.8.1", Grade.DEGRADED, "CVE-2026-3172"),
    ],
)
def test_doctor_names_the_faults_of_pgvector(
    database: Database, version: str, grade: Grade, names: str
) -> None:
    """By the version that is installed in the database."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", (version,)
        )
    (line,) = diagnose_pgvector(database)
    assert (line.grade, names in line.found) == (grade, True)
