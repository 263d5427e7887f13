"""Candidates are found by look-ups: the cost does not grow with the catalogue.

To see a plan, run `EXPLAIN (ANALYZE, BUFFERS)` with a statement of
`resources/duplicates/candidates.py` in psql.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ops.duplicates.look_up import FURTHEST, NEAREST
from ops.duplicates.pdq import Pdq
from ops.types import AdKey
from resources.duplicates import candidates, changes, common_photos, groups
from resources.postgres.database import Database
from tests.support.batches import put_test_release

ROWS = 20_000
KEY = AdKey("kg", "ad-000007")
MOST_BLOCKS = 3_000
"""Of 8 KB, far fewer than a table of so many rows has with its indexes."""


@pytest.fixture(scope="module")
def hashes() -> list[bytes]:
    """Random hashes, of which the eighth is near the seventh."""
    rows = np.random.default_rng(3).integers(0, 256, (ROWS, 32), dtype=np.uint8)
    rows[8] = rows[7]
    rows[8, 0] ^= 1
    rows[8, 9] ^= 1
    return [row.tobytes() for row in rows]


@pytest.fixture
def many(database: Database, hashes: list[bytes]) -> Database:
    """Twenty thousand ads with a photo and a hash each; every second is a pair with the next."""
    put_test_release(database)
    rows = f"generate_series(0, {ROWS - 1}) AS n"
    ad_id = "'ad-' || lpad(n::text, 6, '0')"
    other = "'ad-' || lpad((n + 1)::text, 6, '0')"
    moment = "timestamptz '2026-05-01 00:00+00' + n * interval '1 second'"
    photo = "sha256(n::text::bytea)"
    statements = [
        "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
        'event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "offset", '
        f"run_id) SELECT 'kg', {ad_id}, 1, '2026-05-01', 'scored', '', '', n, {moment}, {moment}, "
        f"{moment}, 's', 'ads', 0, n, 'r' FROM {rows}",
        "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
        "source_format, source_width, source_height, source_bytes, run_id) "
        f"SELECT {photo}, {photo}, 1, 1, 1, 'jpeg', 1, 1, 1, 'r' FROM {rows}",
        "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, revision, run_id) "
        f"SELECT 'kg', {ad_id}, 0, {photo}, 1, 'r' FROM {rows}",
        "INSERT INTO lalafo.compared_ads (catalog, ad_id, revision, seller, received_at, photos, "
        f"common, version, title_key) SELECT 'kg', {ad_id}, 1, 's-' || n % 100, {moment}, "
        f"ARRAY[{photo}], '{{}}', 1, n % 200 FROM {rows}",
        "INSERT INTO lalafo.ad_pairs (catalog, ad_id, other_id, revision, other_revision, "
        f"probability, reasons) SELECT 'kg', {ad_id}, {other}, 1, 1, 0.9, '[]' FROM {rows} "
        "WHERE n % 2 = 0",
        f"INSERT INTO lalafo.ad_groups (catalog, ad_id, group_id) SELECT 'kg', {ad_id}, "
        f"'ad-' || lpad((n / 2 * 2)::text, 6, '0') FROM {rows}",
        "INSERT INTO lalafo.photo_pairs (sha256, other_sha256, verdict, probability, changes, "
        "version) SELECT least(a, b), greatest(a, b), 'altered', 1, '{}', 1 FROM "
        f"(SELECT {photo} AS a, sha256((n + 1)::text::bytea) AS b FROM {rows} WHERE n % 2 = 0) "
        "AS p",
    ]
    with database.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        with cursor.copy("COPY lalafo.photo_hashes (sha256, pdq, quality) FROM STDIN") as to:
            for number, pdq in enumerate(hashes):
                to.write_row((photo_of(number), candidates.bits_of(pdq), 90))
        cursor.execute("ANALYZE")
    return database


def photo_of(number: int) -> bytes:
    """The SHA-256 that the statements above give a photo."""
    return hashlib.sha256(str(number).encode()).digest()


def plan(database: Database, query: str, values: dict[str, Any]) -> tuple[set[str], int]:
    """The tables that a query scans from end to end, and the blocks that it reads."""
    with database.cursor() as cursor:
        if query == candidates.NEAR:
            cursor.execute(candidates.LOOK_UPS)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", values)
        root = cursor.fetchall()[0][0][0]["Plan"]
    return set(whole_tables(root)), int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


def whole_tables(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for inner in node.get("Plans", []):
        yield from whole_tables(inner)


def test_near_hashes_are_looked_up(many: Database, hashes: list[bytes]) -> None:
    """By the index of keys; the nearest photo's ad is found."""
    mine = Pdq(hashes[7], hashes[9], 90)
    for within in (NEAREST, FURTHEST):
        values = candidates.near_values(KEY, photo_of(7), mine, within=within)
        scanned, blocks = plan(many, candidates.NEAR, values)
        assert scanned == set()
        assert blocks < MOST_BLOCKS
        with many.cursor() as cursor:
            rows = cursor.execute(candidates.NEAR, values).fetchall()
            assert "ad-000008" in {ad_id for _, ad_id in rows}
            assert len(rows) <= 2


def test_no_table_is_read_whole(many: Database) -> None:
    """Every statement that a finder executes for an ad reads what belongs to it."""
    pairs = candidates._PARTNERS.format(table="ad_pairs", and_same="")
    labels = candidates._PARTNERS.format(table="duplicate_labels", and_same="AND same")
    photo = {"photos": [photo_of(7)], "copies": 100}
    statements: list[tuple[str, dict[str, Any]]] = [
        (candidates._SAME_BYTES, {"photos": [photo_of(7)], "limit": 21}),
        (candidates._OF_TITLE, {"title_key": 7, "limit": 20}),
        (candidates._OF_SELLER, {"seller": "s-7", "limit": 50}),
        (pairs, {"limit": 100}),
        (labels, {"limit": 100}),
        (groups._MEMBERS, {"ads": [KEY.ad_id]}),
        (groups._JOINED, {"ads": [KEY.ad_id]}),
        (common_photos._COUNTED, {**photo, "most": 80, "ads": 20}),
        (common_photos._NEIGHBOURS, photo),
        (changes._NEXT, {"version": 1, "limit": 200}),
    ]
    small = {"duplicate_labels", "common_photos"}  # empty here
    for query, values in statements:
        own = {"catalog": KEY.catalog, "ad_id": KEY.ad_id, **values}
        scanned, blocks = plan(many, query, own)
        assert scanned <= small, query
        assert blocks < MOST_BLOCKS, query
