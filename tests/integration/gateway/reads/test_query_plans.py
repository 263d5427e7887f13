"""Query plans of the read routes: look-ups by index, reading only as many rows as are returned.

The cost is therefore the same with ten million ads. To see a plan, run `EXPLAIN (ANALYZE, BUFFERS)`
with a statement of `gateway/reads/ad.py` or `gateway/reads/ad_list.py` in psql.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from gateway.reads import ad, pages
from gateway.reads.ad_list import ads_query
from gateway.reads.cursors import cursor_after
from gateway.reads.failure_list import failures_query
from gateway.reads.pages import PageRequest
from ops.types import AdKey
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import partition_name
from tests.support.batches import NOON, RELEASE, put_test_release
from tests.support.read_catalogue import DAGSTER


@pytest.fixture
def many(database: Database) -> Database:
    """Twenty thousand ads of three catalogs, with rows in every table that a response reads."""
    put_test_release(database)
    put_test_release(database, "tiny-000000000002")
    make_live(database, RELEASE)
    rows = "generate_series(1, 20000) AS n"
    key = "('{kg,kz,uz}'::text[])[1 + n % 3], n::text"
    photo = "sha256(n::text::bytea)"
    moment = "timestamptz '2026-05-01 00:00+00' + n * interval '1 second'"
    statements = [
        "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
        'event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "offset", '
        f"run_id) SELECT {key}, 1, '2026-05-01', 'scored', '', '', n, {moment}, {moment}, "
        f"{moment}, 's', 'ads', 0, n, 'r' FROM {rows}",
        "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
        "source_format, source_width, source_height, source_bytes, run_id) "
        f"SELECT {photo}, {photo}, 1, 1, 1, 'jpeg', 1, 1, 1, 'r' FROM {rows}",
        "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, reason, revision, run_id) "
        f"SELECT {key}, 0, {photo}, NULL, 1, 'r' FROM {rows}",
        "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, reason, revision, run_id) "
        f"SELECT {key}, 1, NULL, 'fetch_timeout', 1, 'r' FROM {rows}",
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, "
        "stream_id, topic, partition, \"offset\", run_id, failed_at) SELECT 'photo', "
        "catalog || '/' || ad_id || '#1', 'fetch_timeout', '', '2026-05-01', catalog, ad_id, 's', "
        "'ads', 0, 0, 'r', now() + ad_id::int * interval '1 second' FROM lalafo.ads",
        *(
            "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, "
            f"score, details, run_id) SELECT '{release}', {key}, 'category', 1, '2026-05-01', 'a', "
            f"1, '{{}}', 'r' FROM {rows}"
            for release in (RELEASE, "tiny-000000000002")
        ),
        "INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at, "
        f"polled_at, photos_ms, embed_ms, predict_ms) SELECT {key}, 1, '2026-05-01', 'r', now(), "
        f"now(), 1, 1, 1 FROM {rows}",
        "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by) "
        f"SELECT {key}, 'category', 'a', 'm' FROM {rows}",
        "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by) "
        f"SELECT {key}, 2, '{{}}', '', 'k' FROM {rows}",
        "ANALYZE",
    ]
    with database.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    return database


Scan = tuple[str, str]
AD = {
    ("ads", "ads_pkey"),
    ("accepted_ads", "accepted_ads_pkey"),
    ("ad_photos", "ad_photos_pkey"),
    ("photos", "photos_pkey"),
    ("failures", "failures_pkey"),
    ("labels", "labels_pkey"),
    ("stage_timings", "stage_timings_pkey"),
}


def executed_scans(
    database: Database, query: str, values: dict[str, Any], mode: str
) -> tuple[set[Scan], float]:
    """Run a query; return the tables that it read, each with its index, and the number of rows.

    Args:
        mode: "custom", as for the first calls of a statement, or "generic", as later.
    """
    executed = list(scans(explained(database, query, values, mode)))
    return {(table, index) for table, index, _ in executed}, sum(rows for _, _, rows in executed)


def blocks(database: Database, query: str, values: dict[str, Any], mode: str) -> int:
    """Run a query; return the number of blocks that it read."""
    plan = explained(database, query, values, mode)
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def explained(database: Database, query: str, values: dict[str, Any], mode: str) -> dict[str, Any]:
    """Run a query and return its plan."""
    used = {name: value for name, value in values.items() if f"%({name})s" in query}
    numbers = {name: f"${number}" for number, name in enumerate(used, 1)}
    numbered = re.sub(r"%\((\w+)\)s", lambda match: numbers[match[1]], query)
    with database.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = force_{mode}_plan")
        cursor.execute(f"PREPARE explained AS {numbered}", prepare=False)
        literals = ", ".join(sql.Literal(value).as_string(cursor) for value in used.values())
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
        cursor.execute(f"{explain} EXECUTE explained({literals})")
        ((plan,),) = cursor.fetchall()
        cursor.execute("DEALLOCATE explained")
    root: dict[str, Any] = plan[0]["Plan"]
    return root


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """The scans of an executed plan; the name of an index is without its partition."""
    if "Relation Name" in plan and plan["Actual Loops"] > 0:
        index = re.sub(r"_[0-9a-f]{16}_", "_", plan.get("Index Name", ""))
        dropped = plan.get("Rows Removed by Filter", 0)
        yield (
            plan["Relation Name"],
            index,
            (plan["Actual Rows"] + dropped) * plan["Actual Loops"],
        )
    for below in plan.get("Plans", ()):
        yield from scans(below)


def live_partition(name: str = RELEASE) -> str:
    return partition_name(hashlib.sha256(name.encode()).hexdigest())


@pytest.mark.parametrize("mode", ["custom", "generic"])
def test_an_ad_is_looked_up_by_primary_keys_alone(many: Database, mode: str) -> None:
    """Of the predictions only the live release's partition is read."""
    found, rows = executed_scans(
        many, ad.READ_AD, ad.parameters(AdKey("kg", "9999"), DAGSTER), mode
    )
    partition = live_partition()
    small = {scan for scan in found if scan[0] in ("active_releases", "releases")}
    assert found - small == AD | {(partition, "predictions_pkey")}
    assert small and rows <= 12


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("catalogs", [None, ("kg", "uz")])
def test_a_page_reads_as_many_rows_as_it_returns(
    many: Database, catalogs: tuple[str, ...] | None, mode: str
) -> None:
    """From each catalog by the index, at any position."""
    cursors = [None, cursor_after("ads", NOON, "10000", "kg")]
    for cursor in cursors:
        query, values = ads_query(PageRequest(catalogs, 10, cursor, {"status": None}))
        found, rows = executed_scans(many, query, values, mode)
        allowed = {
            ("ads", "ads_pkey"),
            ("ads", "ads_catalog_received_at_ad_id_idx"),
            ("ad_photos", "ad_photos_pkey"),
            (live_partition(), "predictions_pkey"),
            ("active_releases", ""),
            ("labels", "labels_pkey"),
        }
        assert found <= allowed, found - allowed
        assert ("ads", "ads_catalog_received_at_ad_id_idx") in found
        assert rows < 130


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("catalogs", [None, ("kg", "uz")])
def test_a_page_of_failures_reads_a_limited_number_of_rows(
    many: Database, catalogs: tuple[str, ...] | None, mode: str
) -> None:
    """Also if a filter excludes all of them."""
    for reason, max_rows in ((None, 11), ("photo_empty", pages.MAX_SCANNED_ROWS)):
        page = PageRequest(catalogs, 10, None, {"kind": None, "reason": reason})
        query, values = failures_query(page)
        found, rows = executed_scans(many, query, values, mode)
        prefix = "failures_" if catalogs is None else "failures_catalog_"
        assert found == {("failures", f"{prefix}failed_at_kind_subject_idx")}
        assert rows <= max_rows * len(catalogs or ("all",))


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("catalogs", [None, ("kg",)])
def test_a_page_far_from_the_newest_reads_as_few_blocks(
    many: Database, mode: str, catalogs: tuple[str, ...] | None
) -> None:
    """The index scan starts at the cursor: rows before it are not read."""
    first = PageRequest(catalogs, 10, None, {"status": None})
    with many.cursor() as cursor:
        cursor.execute("SELECT min(received_at), max(received_at) FROM lalafo.ads")
        ((oldest, newest),) = cursor.fetchall()
    at = oldest + (newest - oldest) / 2
    middle = PageRequest(catalogs, 10, cursor_after("ads", at, "5000", "kg"), {"status": None})
    earlier = PageRequest(catalogs, 10, None, {"status": None}, until=at)
    few = blocks(many, *ads_query(first), mode)
    for page in (middle, earlier):
        assert blocks(many, *ads_query(page), mode) <= few + 20


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("catalogs", [None, ("kg",)])
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"status": "unscored"}, "ads_catalog_status_received_at_ad_id_idx"),
        ({"filed": "sofa"}, "ads_catalog_category_received_at_ad_id_idx"),
    ],
)
def test_a_filter_with_an_index_reads_as_many_rows_as_it_returns(
    many: Database,
    catalogs: tuple[str, ...] | None,
    mode: str,
    filters: dict[str, object],
    index: str,
) -> None:
    """Among ads of which every second, or one in 20, matches."""
    with many.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.ads SET category = CASE WHEN ad_id::int % 20 = 0 THEN 'sofa' "
            "ELSE 'chair' END, status = CASE WHEN ad_id::int % 2 = 0 THEN 'unscored' "
            "ELSE 'scored' END"
        )
        cursor.execute("ANALYZE")
    page = PageRequest(catalogs, 10, None, filters)
    found, rows = executed_scans(many, *ads_query(page), mode)
    assert ("ads", index) in found and rows < 130


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("catalogs", [None, ("kg",)])
def test_a_category_with_those_below_it_is_read_by_the_index(
    many: Database, catalogs: tuple[str, ...] | None, mode: str
) -> None:
    """Of each such category as many rows as are returned, and one for each other category."""
    with many.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.ads SET category = (ARRAY['shoes', 'shoes/boots', 'shoes/boots/high', "
            "'shoes2', 'shoe', 'sofa'])[1 + ad_id::int % 6]"
        )
        cursor.execute("ANALYZE")
    page = PageRequest(catalogs, 10, None, {"filed": "shoes"})
    found, rows = executed_scans(many, *ads_query(page), mode)
    assert ("ads", "ads_catalog_category_received_at_ad_id_idx") in found
    assert ("ads", "") not in found and rows < 250


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize(
    "filters",
    [
        {"label": "b"},
        {"agrees": False},
        {"max_score": 0.1},
        {"failed": False},
        {"labelled": False},
        {"status": "scored", "label": "b", "failed": True},
    ],
    ids=str,
)
def test_a_filter_that_nothing_matches_reads_a_limited_number_of_rows(
    many: Database, mode: str, filters: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scanned ad, and for each at most one key of each table that a filter looks at."""
    monkeypatch.setattr(pages, "MAX_SCANNED_ROWS", 500)
    with many.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET category = 'a'")
    page = PageRequest(("kg",), 10, None, filters)
    found, rows = executed_scans(many, *ads_query(page), mode)
    assert ("ads", "ads_catalog_received_at_ad_id_idx") in found
    assert all(index for table, index in found if table != "active_releases"), found
    assert rows <= 500 * 4 + 100
