"""The pictures in Dagster's metadata: stored by name, replaced, and deleted with their run."""

from pathlib import Path

import pytest

from ops.errors import StoredObjectError
from resources.storage.report_pictures import ReportPictures, picture_name, picture_url

JPEG, PNG = b"\xff\xd8photo", b"\x89PNGdrawing"


def test_a_picture_is_named_by_its_parts_and_kind() -> None:
    assert picture_name("2026-11-28", "ad_photos", "sheet", image=JPEG) == (
        "2026-11-28-ad_photos-sheet.jpg"
    )
    assert picture_name("", "", "latency", image=PNG) == "latency.png"
    assert picture_url("http://g:8080/", "run-1", "a.png") == "http://g:8080/v1/reports/run-1/a.png"


def test_a_new_picture_replaces_the_last_and_a_run_takes_its_pictures_along(tmp_path: Path) -> None:
    store = ReportPictures(str(tmp_path))
    store.put("run-1", "a.png", PNG)
    store.put("run-1", "a.png", PNG + b"2")
    store.put("run-2", "a.png", PNG)
    assert store.get("run-1", "a.png") == PNG + b"2"
    store.remove("run-1")
    store.remove("run-1")
    with pytest.raises(StoredObjectError, match=r"no picture a\.png of run-1"):
        store.get("run-1", "a.png")
    assert store.get("run-2", "a.png") == PNG


@pytest.mark.parametrize(("of", "name"), [("..", "a.png"), ("run", "../a.png"), ("a/b", "a.png")])
def test_nothing_outside_the_pictures_is_reached(tmp_path: Path, of: str, name: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "a.png").write_bytes(b"secret")
    with pytest.raises(StoredObjectError, match="names no picture"):
        ReportPictures(str(tmp_path)).get(of, name)
