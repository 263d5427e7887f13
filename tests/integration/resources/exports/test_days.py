"""An export has each ad once, with typed columns, and files are whole or not there."""

import csv
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ops.errors import ConfigurationError
from resources.exports import days as export
from resources.exports.destination import Destination
from resources.exports.formats import Format, parse_days
from resources.postgres.database import Database
from tests.support.batches import RELEASE, sha
from tests.support.exported_ads import LABELS, WORTH, put_ads

FIRST, SECOND = date(2026, 5, 1), date(2026, 5, 2)


@pytest.fixture
def filled(database: Database) -> Database:
    put_ads(database)
    return database


def exported(database: Database, to: str, **options: object) -> list[export.DayFile]:
    what = export.new_export(database, **options)
    return export.export_days(
        database, what, export.days_with_ads(database), Destination(to, "--to")
    )


def test_a_data_set_of_hive_partitions_has_every_ad_and_its_types(filled: Database, tmp_path: Path):
    """Read back by pyarrow; deleted ads are left out, a day with nothing else has a file."""
    written = exported(filled, str(tmp_path))
    assert [(one.day, one.rows) for one in written] == [(FIRST, 2), (SECOND, 1)]
    data = ds.dataset(tmp_path, format="parquet", partitioning="hive")
    assert data.schema.field("price").type == pa.decimal128(17, 2)
    assert data.schema.field("received_at").type == pa.timestamp("us", tz="UTC")
    assert data.schema.field("worth.range.low").type == pa.float64()
    assert data.schema.field("worth.like").type == pa.int64()
    assert data.schema.field("worth.flags").type == pa.list_(pa.string())
    field = pq.read_schema(tmp_path / "day=2026-05-01/part.parquet").field("worth.range.low")
    assert field.metadata[b"description"] == b"The lowest. Unit: of the currency."
    first, second, third = sorted(data.to_table().to_pylist(), key=lambda row: row["ad_id"])
    photos = json.dumps(WORTH["photos"])
    assert json.loads(first.pop("worth.photos")) == json.loads(photos)
    assert json.loads(first.pop("category.top")) == [["chair", 0.75]]
    assert json.loads(first.pop("elsewhere.details")) == {"new": {"x": [1]}}
    assert json.loads(first.pop("labels")) == {"category": "sofa"}
    assert first == {
        **{"catalog": "kg", "ad_id": "1", "revision": 1, "status": "scored", "day": "2026-05-01"},
        **{"title": '=HYPERLINK("http://x","a")', "category": "chair"},
        **{"price": Decimal("1200.50"), "currency": "KGS", "seller": "s-1", "attributes": None},
        "received_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
        **{"sha256": sha("https://p.example/1/0.jpg").hex(), "failed_photos": 0},
        **{"release": RELEASE, "category.label": "chair", "category.score": 0.75},
        **{"category.path": [], "elsewhere.label": "x", "elsewhere.score": 1.0},
        **{"worth.label": "above", "worth.score": 0.5, "worth.range.low": 10.5},
        **{"worth.range.high": None, "worth.position": "above", "worth.like": 12},
        **{"worth.fair": True, "worth.flags": ["dark", "blurred"]},
    }
    assert (second["title"], second["category"]) == ('line\nbreak, "quoted"', None)
    assert (second["category.label"], second["category.path"]) == (LABELS[2], ["a", "b"])
    assert (second["failed_photos"], second["worth.label"]) == (1, "")
    names = ("range.low", "position", "like", "fair", "flags", "photos")
    assert [second[f"worth.{name}"] for name in names] == [None] * 6, "they are of other types"
    assert (third["title"], third["labels"], third["worth.label"]) == ("", None, None)


def test_best_labels_that_a_re_score_stored_as_arrays_are_the_same(
    filled: Database, tmp_path: Path
):
    """As the view `predictions_with_details` gives them."""
    with filled.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.predictions SET top_labels = '{2,0}', top_scores = '{0.5,0.25}', "
            "details = '{}' WHERE task = 'category'"
        )
        cursor.execute(
            "SELECT details -> 'top' FROM lalafo.predictions_with_details "
            "WHERE task = 'category' LIMIT 1"
        )
        ((expected,),) = cursor.fetchall()
    exported(filled, str(tmp_path))
    row = pq.read_table(tmp_path / "day=2026-05-02/part.parquet").to_pylist()[0]
    assert json.loads(row["category.top"]) == expected == [[LABELS[2], 0.5], ["chair", 0.25]]


def test_csv_is_read_back_and_no_text_is_a_formula(filled: Database, tmp_path: Path):
    """RFC 4180: rows end with CRLF; line breaks and quotes stand inside of quotes."""
    exported(filled, str(tmp_path), file_format=Format.CSV)
    data = (tmp_path / "day=2026-05-01/part.csv").read_bytes()
    assert data.count(b"\r\n") == 3 and data.endswith(b"\r\n")
    first, second = sorted(
        csv.DictReader(data.decode().splitlines(keepends=True)), key=lambda row: row["ad_id"]
    )
    assert (first["day"], first["price"], first["worth.fair"]) == ("2026-05-01", "1200.50", "true")
    assert first["title"] == """'=HYPERLINK("http://x","a")"""
    assert first["worth.flags"] == '["dark", "blurred"]'
    assert second["title"] == 'line\nbreak, "quoted"'


@pytest.mark.parametrize("title", ["+1", "-1", "@a", "\ta", "＝1", "a=1", " =1"])  # noqa: RUF001
def test_a_title_that_begins_as_a_formula_gets_an_apostrophe(
    filled: Database, tmp_path: Path, title: str
):
    """Unless raw text is asked for."""
    with filled.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET title = %s WHERE ad_id = '3'", (title,))
    for guarded in (True, False):
        exported(filled, str(tmp_path), file_format=Format.CSV, guarded=guarded)
        with (tmp_path / "day=2026-05-02/part.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        is_formula = title[0] in "=+-@\t＝"  # noqa: RUF001
        assert row["title"] == ("'" if guarded and is_formula else "") + title


def test_only_the_catalogs_that_are_asked_for(filled: Database, tmp_path: Path):
    """None of them has ads: the files have no rows."""
    assert [one.rows for one in exported(filled, str(tmp_path), catalogs=["uz"])] == [0, 0]
    assert pq.read_table(tmp_path / "day=2026-05-01/part.parquet").num_rows == 0


def test_a_failed_export_leaves_the_file_that_was_there(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither half a file nor `_SUCCESS`."""
    exported(filled, str(tmp_path))
    file = tmp_path / "day=2026-05-01/part.parquet"
    before = file.read_bytes()
    with filled.cursor() as cursor:
        cursor.execute("ALTER TABLE lalafo.labels RENAME TO hidden")
    with pytest.raises(Exception, match=r"labels"):
        exported(filled, str(tmp_path))
    assert file.read_bytes() == before
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["part.parquet", "part.parquet"]


def test_what_a_killed_export_left_behind_is_removed_after_an_hour(
    filled: Database, tmp_path: Path
):
    import os

    old = tmp_path / "day=2026-05-01/.part.parquet.0123456789ab.unfinished"
    new = old.with_name(".part.parquet.ba9876543210.unfinished")
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    exported(filled, str(tmp_path))
    assert (old.exists(), new.exists()) == (False, True)


def test_any_fsspec_url_is_a_destination(filled: Database):
    """Memory stands for file systems that move; nothing but whole files is left."""
    url = f"memory://{uuid.uuid4().hex}/ads"
    written = exported(filled, url)
    filesystem, root = fsspec.core.url_to_fs(url)
    found = sorted(path.removeprefix(root + "/") for path in filesystem.find(root))
    assert found == ["_SUCCESS", "day=2026-05-01/part.parquet", "day=2026-05-02/part.parquet"]
    summary = json.loads(filesystem.cat_file(f"{root}/_SUCCESS"))
    assert (summary["rows"], summary["release"]) == (3, RELEASE)
    assert summary["days"]["2026-05-01"] == {"rows": 2, "bytes": written[0].bytes}
    assert filesystem.size(f"{root}/day=2026-05-01/part.parquet") == written[0].bytes


def test_a_destination_that_can_t_be_used_is_named(filled: Database, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for url in (str(tmp_path / "file" / "below"), "nosuch://x/y"):
        with pytest.raises(ConfigurationError, match="--to"):
            exported(filled, url)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2026-05-01", (FIRST, FIRST)),
        ("2026-05-01:2026-05-02", (FIRST, SECOND)),
        ("2026-05-02:", (SECOND, date.max)),
        (":2026-05-01", (date.min, FIRST)),
        (":", (date.min, date.max)),
    ],
)
def test_days_are_parsed(filled: Database, text: str, days: tuple[date, date]):
    assert parse_days(text) == days
    expected = [day for day in (FIRST, SECOND) if days[0] <= day <= days[1]]
    assert export.days_with_ads(filled, *days) == expected


@pytest.mark.parametrize("text", ["", "today", "2026-05-02:2026-05-01", "2026-13-01", "1:2:3"])
def test_other_days_are_refused(text: str):
    with pytest.raises(ConfigurationError):
        parse_days(text)
