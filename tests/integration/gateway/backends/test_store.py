"""A photo store that is full or can't be written: said at /readyz, in statistics and in metrics."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.backends import store as store_module
from gateway.backends.store import EVERY_S, StoreWatch
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.support.gateway_live import live_gateway
from tests.support.working_sessions import until


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write to the disk until it is full."""
    file = disk / "filler"
    with pytest.raises(OSError, match="No space left"), file.open("wb", buffering=0) as written:
        while True:
            written.write(bytes(4096))
    return file


def settings_of(database: Database, home: Path, **changes: object) -> Settings:
    return Settings.model_validate(
        {
            "home": home,
            "database_url": database.url.render_as_string(hide_password=False),
            "kafka_bootstrap": "",
            "gateway_auth": "off",
            **changes,
        }
    )


def test_a_full_store_is_shown(
    database: Database, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 at /readyz with the reason; a session's photos have no room, though some bytes have."""
    monkeypatch.setattr(store_module, "EVERY_S", 0.0)
    settings = settings_of(database, tmp_path, store_url=str(small_disk / "store"))
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["store"]["ok"]) == (200, True)
        assert list((small_disk / "store").rglob("*.*")) == [], "the test object was left"
        filler = fill(small_disk)
        os.truncate(filler, filler.stat().st_size - 8192)  # room for a few bytes
        full = client.get("/readyz")
        assert full.status_code == 503
        assert full.json()["checks"]["store"]["found"].startswith("is full: ")
        assert str(small_disk) not in full.text
        until(lambda: client.get("/v1/statistics").json()["store_problem"] == "is full")
        until(lambda: "lalafo_gateway_store_unavailable 1.0" in client.get("/metrics").text)
        body = {"catalog": "kg", "ad_id": "1", "photos": [{"url": "https://p.example/1.jpg"}]}
        assert client.post("/v1/ads", json=body).status_code == 202
        assert client.post("/v1/photos", content=bytes(100_000)).status_code in (415, 422, 503)
        filler.unlink()
        until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: client.get("/v1/statistics").json()["store_problem"] is None)


@pytest.mark.parametrize("required", [True, False])
def test_a_store_that_is_not_there(database: Database, tmp_path: Path, required: bool) -> None:
    """A file is where its folder should be: not ready, unless the store is not required."""
    (tmp_path / "file").touch()
    store_url = str(tmp_path / "file" / "store")
    settings = settings_of(database, tmp_path, store_url=store_url, require_store=required)
    with live_gateway(settings) as gateway:
        answer = httpx.get(f"{gateway.url}/readyz")
    check = answer.json()["checks"]["store"]
    assert (answer.status_code, check["ok"]) == (503 if required else 200, False)
    assert check["found"].startswith("denies access: ") and "tmp" not in answer.text


def test_it_is_tried_once_in_ten_seconds(tmp_path: Path) -> None:
    """However often it is asked."""
    clock = Clock()
    watch = StoreWatch(PhotoStore(str(tmp_path / "folder" / "store"), fsync=False), clock=clock)
    assert watch.problem() is None
    for path in sorted((tmp_path / "folder").rglob("*"), reverse=True):
        path.rmdir()
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").touch()
    clock.now += EVERY_S - 1
    assert watch.problem() is None
    clock.now += 1
    assert watch.problem() == "denies access"


def test_a_store_that_hangs_is_tried_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for long, and no further attempt begins before the first has ended."""
    monkeypatch.setattr(store_module, "ANSWER_S", 0.01)
    released, attempts = threading.Event(), []

    class Hanging(PhotoStore):
        def put(self, *_: object) -> None:
            attempts.append(1)
            released.wait(60)

    watch = StoreWatch(Hanging(str(tmp_path)), clock=Clock())
    assert "does not answer" in str(watch.problem())
    assert "does not answer" in str(watch.problem())
    assert watch.last_problem is None, "not known yet"
    released.set()
    until(lambda: watch.problem() is None)
    assert attempts == [1]
