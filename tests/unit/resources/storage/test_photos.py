"""The photo store's contract, on a local folder and on another fsspec file system."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ops.errors import ConfigurationError, RetryableError, StoredObjectError
from resources.storage import objects as stored_objects
from resources.storage import photos
from resources.storage.photos import RENEWED_AFTER_S, PhotoStore

DATA = b"a rendition" * 1000
NAME = sha256(DATA).digest()


@pytest.fixture(params=["folder", "file URL", "memory"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each kind of store, empty."""
    if request.param == "memory":
        yield f"memory://{tmp_path.name}/store"
        fsspec.filesystem("memory").store.clear()
    else:
        yield f"file://{tmp_path}/store" if request.param == "file URL" else f"{tmp_path}/store"


@pytest.fixture
def store(store_url: str) -> PhotoStore:
    return PhotoStore(store_url, fsync=False)


def read_behind(store: PhotoStore, name: bytes) -> bytes:
    """Read the object by its URL, without the store."""
    with fsspec.open(store.url("renditions", name), "rb") as file:
        return bytes(file.read())


def write_behind(store: PhotoStore, name: bytes, data: bytes) -> None:
    with fsspec.open(store.url("renditions", name), "wb") as file:
        file.write(data)


def test_what_is_put_can_be_got(store: PhotoStore) -> None:
    """`get` returns the same bytes, and they are at the object's URL."""
    assert not store.exists("renditions", NAME)
    store.put("renditions", NAME, DATA)
    assert store.exists("renditions", NAME)
    assert store.get("renditions", NAME) == DATA
    assert read_behind(store, NAME) == DATA


def test_kinds_are_apart(store: PhotoStore) -> None:
    """A rendition is no thumbnail."""
    store.put("renditions", NAME, DATA)
    assert not store.exists("thumbnails", NAME)
    assert store.url("renditions", NAME) != store.url("thumbnails", NAME)


def test_the_layout_is_two_levels_by_digest(store: PhotoStore) -> None:
    """Fixed: other tools find objects by it."""
    digest = NAME.hex()
    assert store.url("renditions", NAME).endswith(
        f"/store/renditions/{digest[:2]}/{digest[2:4]}/{digest}.jpg"
    )


def test_an_empty_object_is_an_object(store: PhotoStore) -> None:
    """Zero bytes are not confused with a missing object."""
    name = sha256(b"").digest()
    store.put("renditions", name, b"")
    assert store.get("renditions", name) == b""


def test_putting_again_writes_nothing(store: PhotoStore, store_url: str) -> None:
    """The stored bytes stay untouched, so a hot object costs no write."""
    store.put("renditions", NAME, DATA)
    corrupt = b"!" + DATA[1:]
    write_behind(store, NAME, corrupt)
    store.put("renditions", NAME, DATA)
    assert read_behind(store, NAME) == corrupt


def test_a_truncated_object_is_put_again(store: PhotoStore) -> None:
    """An object of another size is replaced."""
    store.put("renditions", NAME, DATA)
    write_behind(store, NAME, DATA[:100])
    store.put("renditions", NAME, DATA)
    assert store.get("renditions", NAME) == DATA


def test_data_of_another_digest_is_refused(store: PhotoStore) -> None:
    """Nothing is stored under a name that is not the data's digest."""
    with pytest.raises(StoredObjectError, match="another SHA-256"):
        store.put("renditions", NAME, DATA + b".")
    assert not store.exists("renditions", NAME)


@pytest.mark.parametrize("name", [b"", NAME[:31], NAME.hex().encode()])
def test_a_name_is_32_bytes(store: PhotoStore, name: bytes) -> None:
    """Neither hex nor truncated: so a name can never be a path from outside."""
    with pytest.raises(StoredObjectError):
        store.get("renditions", name)


def test_a_missing_object_is_named(store: PhotoStore) -> None:
    """The message has its name."""
    with pytest.raises(StoredObjectError, match=rf"{NAME.hex()}.* is missing"):
        store.get("renditions", NAME)


@pytest.mark.parametrize("damage", [b"", DATA[:-1], b"!" + DATA[1:], DATA + b"."])
def test_a_damaged_object_is_never_returned(store: PhotoStore, damage: bytes) -> None:
    """The message names it and says what to do."""
    store.put("renditions", NAME, DATA)
    write_behind(store, NAME, damage)
    with pytest.raises(StoredObjectError, match=rf"{NAME.hex()}.* is damaged.*Delete it"):
        store.get("renditions", NAME)


def test_many_threads_put_the_same_objects(store: PhotoStore) -> None:
    """All objects are stored completely, and no temporary file is left."""
    objects = {sha256(bytes([n]) * 5000).digest(): bytes([n]) * 5000 for n in range(20)}
    threads = [
        threading.Thread(
            target=lambda: [store.put("renditions", name, data) for name, data in objects.items()]
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get("renditions", name) == data for name, data in objects.items())
    filesystem, root = fsspec.core.url_to_fs(store.url("renditions", NAME).split("/renditions")[0])
    assert len(filesystem.find(root)) == len(objects)


def make_older(store: PhotoStore, name: bytes, by_s: float) -> None:
    """Set the object's time to an earlier one."""
    url = store.url("renditions", name)
    if url.startswith("file://"):
        path = Path(url.removeprefix("file://"))
        os.utime(path, (time.time() - by_s,) * 2)
    else:
        stored = fsspec.filesystem("memory").store[url.removeprefix("memory://")]
        stored.modified -= timedelta(seconds=by_s)


def test_an_object_can_be_deleted_repeatedly(store: PhotoStore) -> None:
    """Only this object is deleted; and it can be put again."""
    other = sha256(b"other").digest()
    store.put("renditions", NAME, DATA)
    store.put("thumbnails", NAME, DATA)
    store.put("renditions", other, b"other")
    assert store.delete("renditions", NAME)
    assert store.delete("renditions", NAME)
    assert not store.exists("renditions", NAME)
    assert store.exists("thumbnails", NAME) and store.exists("renditions", other)
    store.put("renditions", NAME, DATA)
    assert store.get("renditions", NAME) == DATA


def test_a_recent_object_is_not_deleted(store: PhotoStore) -> None:
    """A recent object stays, an old one is deleted; a `put` makes an object recent again."""
    store.put("renditions", NAME, DATA)
    assert not store.delete("renditions", NAME, unless_put_within_s=3600)
    make_older(store, NAME, 4000)
    store.put("renditions", NAME, DATA)
    assert not store.delete("renditions", NAME, unless_put_within_s=3600)
    assert store.get("renditions", NAME) == DATA
    make_older(store, NAME, 4000)
    assert store.delete("renditions", NAME, unless_put_within_s=3600)
    assert not store.exists("renditions", NAME)


def test_a_hot_object_is_not_renewed_at_every_put(store: PhotoStore) -> None:
    """Its time changes only if it is older than RENEWED_AFTER_S."""
    store.put("renditions", NAME, DATA)
    make_older(store, NAME, RENEWED_AFTER_S - 100)
    store.put("renditions", NAME, DATA)
    assert store.delete("renditions", NAME, unless_put_within_s=RENEWED_AFTER_S - 200)


def test_a_put_that_meets_a_delete_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewed between the delete's check and its rename: the object stays."""
    store = PhotoStore(str(tmp_path), fsync=False)
    store.put("renditions", NAME, DATA)
    make_older(store, NAME, 4000)
    real = Path.rename

    def put_just_before(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        store.put("renditions", NAME, DATA)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", put_just_before)
    assert not store.delete("renditions", NAME, unless_put_within_s=3600)
    assert store.get("renditions", NAME) == DATA
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def put_old_one(store: PhotoStore, folder: Path) -> None:
    """Replace the object by an old one in one step, so that its time never decreases in place."""
    old = folder / "old"
    old.write_bytes(DATA)
    os.utime(old, (time.time() - 4000,) * 2)
    old.replace(store.url("renditions", NAME).removeprefix("file://"))


def test_puts_and_deletes_side_by_side_leave_the_object_whole(tmp_path: Path) -> None:
    """After a put has returned, no delete with a minimum age removes the object."""
    store = PhotoStore(str(tmp_path), fsync=False)
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            store.delete("renditions", NAME, unless_put_within_s=3600)

    deleters = [threading.Thread(target=delete) for _ in range(2)]
    for thread in deleters:
        thread.start()
    lost = 0
    for _ in range(300):
        store.put("renditions", NAME, DATA)
        put_old_one(store, tmp_path)  # now a delete may rename it
        store.put("renditions", NAME, DATA)
        # A delete that is too late has renamed it for an instant, until it renames it back.
        deadline = time.monotonic() + 90
        while not (found := store.exists("renditions", NAME)) and time.monotonic() < deadline:
            stop.wait(0.001)  # lets that thread run
        lost += not found
    stop.set()
    for thread in deleters:
        thread.join()
    assert lost == 0
    assert store.get("renditions", NAME) == DATA


def test_files_of_a_killed_put_are_removed_once_they_are_old(tmp_path: Path) -> None:
    """Only hidden files in the store's own folders; recent ones may be in use."""
    store = PhotoStore(str(tmp_path), fsync=False)
    store.put("renditions", NAME, DATA)
    folder = Path(store.url("renditions", NAME).removeprefix("file://")).parent
    old, recent = folder / ".aa.1-2-3", folder / ".bb.1-2-3"
    for path in (old, recent, tmp_path / ".other"):
        path.write_bytes(b"torn")
    for path in (old, tmp_path / ".other"):
        os.utime(path, (time.time() - 7200,) * 2)
    others = [n for n in range(4) if n != NAME[0] % 4]
    assert [store.remove_unfinished(3600, part=part, of=4) for part in others] == [0, 0, 0]
    assert store.remove_unfinished(3600, part=NAME[0] % 4, of=4) == 1
    assert store.remove_unfinished(3600) == 0
    assert not old.exists() and recent.exists() and (tmp_path / ".other").exists()
    assert store.get("renditions", NAME) == DATA


def test_other_stores_have_no_temporary_files() -> None:
    """Object stores write whole objects."""
    assert PhotoStore("memory://unfinished/store").remove_unfinished(0) == 0


def test_an_unknown_protocol_fails_at_start() -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="LALAFO_STORE_URL"):
        PhotoStore("nope://bucket")


class BrokenFilesystem:
    """A file system that raises one error in every call."""

    protocol = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def unstrip_protocol(self, path: str) -> str:
        return f"broken://{path}"

    def size(self, path: str) -> int:
        raise self.error

    def cat_file(self, path: str) -> bytes:
        raise self.error

    def pipe_file(self, path: str, data: bytes) -> None:
        raise self.error

    def rm_file(self, path: str) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError("refused"), RetryableError),
        (TimeoutError("slow"), RetryableError),
        (RuntimeError("a backend's own error"), RetryableError),
        (PermissionError("Forbidden"), ConfigurationError),
    ],
)
def test_unavailable_storage_is_distinguished_from_denied_access(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    """Unavailable: try again. Denied: a person must act. Both errors name the setting."""
    opened: Any = (BrokenFilesystem(error), "bucket")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *_, **__: opened)
    store = PhotoStore("broken://bucket")
    for call in (
        lambda: store.put("renditions", NAME, DATA),
        lambda: store.get("renditions", NAME),
        lambda: store.exists("renditions", NAME),
        lambda: store.delete("renditions", NAME),
    ):
        with pytest.raises(expected, match="LALAFO_STORE_URL"):
            call()


def test_a_missing_bucket_is_not_created(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person must create it, with the right settings."""
    opened: Any = (BrokenFilesystem(FileNotFoundError("NoSuchBucket")), "bucket")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda *_, **__: opened)
    with pytest.raises(ConfigurationError, match="does not exist"):
        PhotoStore("broken://bucket").put("renditions", NAME, DATA)


def test_a_file_in_the_folders_place_is_a_wrong_setting(tmp_path: Path) -> None:
    """Retrying would not help."""
    (tmp_path / "store").write_text("not a folder")
    store = PhotoStore(str(tmp_path / "store"))
    with pytest.raises(ConfigurationError, match="LALAFO_STORE_URL"):
        store.put("renditions", NAME, DATA)


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    """A failed write is retryable, and leaves neither the object nor a temporary file."""
    code = """
import resource, signal, sys
from hashlib import sha256
from ops.errors import RetryableError
from resources.storage.photos import PhotoStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
data = bytes(10_000)
try:
    PhotoStore(sys.argv[1]).put("renditions", sha256(data).digest(), data)
except RetryableError as error:
    print("retryable")
"""
    root = Path(photos.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout.strip() == "retryable", done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_put_returns_when_file_and_folders_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synced: the file before it is renamed, and each folder that has a new entry."""
    synced: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(stored_objects.os, "fsync", record)
    store = PhotoStore(str(tmp_path))
    store.put("renditions", NAME, DATA)
    digest = NAME.hex()
    assert synced[:3] == [tmp_path.name, "renditions", digest[:2]]
    assert synced[3].startswith(f".{digest}")
    assert synced[4:] == [digest[2:4]]
    synced.clear()
    store.put("renditions", NAME, DATA)
    assert synced == [digest[2:4]], "its first writer may not have synced the folder yet"
    synced.clear()
    monkeypatch.setattr(stored_objects.time, "time", lambda: tmp_path.stat().st_ctime + 100)
    store.put("renditions", NAME, DATA)
    assert synced == []


def test_a_file_is_put_like_its_bytes(store: PhotoStore, tmp_path: Path) -> None:
    """An upload is verified, stored under its SHA-256 without an extension, and can be repeated."""
    large = DATA * 300
    name = sha256(large).digest()
    (tmp_path / "sent").write_bytes(large)
    with (tmp_path / "sent").open("rb") as file:
        assert store.put_file("uploads", name, file) == len(large)
        assert store.put_file("uploads", name, file) == len(large)
        with pytest.raises(StoredObjectError, match="another SHA-256"):
            store.put_file("uploads", NAME, file)
    assert store.get("uploads", name) == large
    assert store.size("uploads", name) == len(large)
    assert store.size("uploads", NAME) is None
    assert store.url("uploads", name).endswith(f"/{name.hex()}")
