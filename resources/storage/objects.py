"""Object storage, bytes by name: what a store can do, and a store in a local folder.

Owns atomicity, durability, and the outcome when a `delete` and a `put` of one object race. Does
not depend on what names and bytes mean. Other stores are in `resources.storage.remote`.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Protocol

RENEWED_AFTER_S = 300.0
"""A `put` of an existing object renews its modification time only if that is older than this many
seconds, so that a frequently used object costs no write."""

COPY_BYTES = 2**20
"""The most bytes in memory at once, of an object that is put from a file."""

_SETTLED_S = 60.0
"""A file whose directory entry is older than this many seconds is on disk: kernels write back
within half of it."""


class Objects(Protocol):
    """Bytes by name.

    `read` raises FileNotFoundError if there is no such object. `put` does not rewrite an object of
    the same name and size, but may renew its modification time.
    """

    def size(self, name: str) -> int | None:
        """Its size in bytes; None if there is no such object."""

    def read(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None: ...

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        """As `put`, with the first `size` bytes of a file, read from its start."""

    def url(self, name: str) -> str: ...

    def delete(self, name: str, untouched_s: float) -> bool:
        """Whether it is deleted; False if it was put within the last `untouched_s` seconds."""

    def remove_unfinished(
        self, kinds: Iterable[str], older_than_s: float, *, part: int, of: int
    ) -> int: ...


class LocalFolder:
    """A local folder: files appear whole, and are on disk when `put` returns.

    Does not use fsspec, whose local file system has neither fsync nor a rename within the target's
    folder.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root.rstrip("/")
        self._fsync = fsync
        self._numbers = count()

    def size(self, name: str) -> int | None:
        status = self._stat(name)
        return None if status is None else status.st_size

    def read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - the hot path: a Path costs time
            return file.read()

    def put(self, name: str, data: bytes) -> None:
        self._put(name, len(data), lambda file: write_all(file, data))

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        self._put(name, size, lambda to: copy(file, to, size))

    def _put(self, name: str, size: int, fill: Callable[[Any], None]) -> None:
        path = Path(self._root, name)
        status = self._stat(name)
        if status is None or status.st_size != size or not self._renew(path, status):
            self._make_folder(path.parent)
            self._write(path, fill)
        elif time.time() - status.st_ctime > _SETTLED_S:
            return
        self._sync_folder(path.parent)  # also if another writer has not synced it yet

    def url(self, name: str) -> str:
        return f"file://{self._root}/{name}"

    def delete(self, name: str, untouched_s: float) -> bool:
        path = Path(self._root, name)
        status = self._stat(name)
        if status is None:
            return True
        if time.time() - status.st_mtime < untouched_s:
            return False
        # Rename it first. A `put` from here on finds no object and writes a new one; a `put` that
        # renewed it after the check above has changed the time of the renamed file.
        hidden = self._hidden(path)
        try:
            path.rename(hidden)
        except FileNotFoundError:
            return True
        if time.time() - hidden.stat().st_mtime < untouched_s:
            hidden.replace(path)
            return False
        hidden.unlink(missing_ok=True)
        return True

    def remove_unfinished(
        self, kinds: Iterable[str], older_than_s: float, *, part: int, of: int
    ) -> int:
        before = time.time() - older_than_s
        removed = 0
        for number in range(part, 256, of):
            for kind in kinds:
                for path in Path(self._root, kind, f"{number:02x}").glob("*/.*"):
                    with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                        if path.stat().st_mtime < before:
                            path.unlink()
                            removed += 1
        return removed

    def _renew(self, path: Path, status: os.stat_result) -> bool:
        """Renew the file's time for a concurrent `delete`; False if one has just renamed the file.

        The check after the renewal is the one that counts: between the kernel's lookup of the path
        and the change of the time, a `delete` may have renamed the file and read its old time. If
        a file with a recent time is at the path after the renewal, every later `delete` sees that
        time.
        """
        if time.time() - status.st_mtime < RENEWED_AFTER_S:
            return True
        try:
            os.utime(path)
            return time.time() - path.stat().st_mtime < RENEWED_AFTER_S
        except FileNotFoundError:
            return False

    def _hidden(self, path: Path) -> Path:
        """A hidden name beside it, unique to this writer, so that two writers share no file."""
        writer = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        return path.with_name(f".{path.stem}.{writer}")

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(f"{self._root}/{name}")  # noqa: PTH116 - as in read
        except FileNotFoundError:
            return None

    def _write(self, path: Path, fill: Callable[[Any], None]) -> None:
        unfinished = self._hidden(path)
        try:
            with unfinished.open("xb", buffering=0) as file:
                fill(file)
                if self._fsync:
                    os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise

    def _make_folder(self, folder: Path) -> None:
        """Create the folder and sync each new directory entry, or a crash could lose them all."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self._sync_folder(folder.parent)

    def _sync_folder(self, folder: Path) -> None:
        if not self._fsync:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(file: Any, data: bytes) -> None:
    """Write all bytes to a file, buffered or not."""
    rest = memoryview(data)
    while rest:  # an unbuffered write may write fewer bytes than given
        rest = rest[file.write(rest) :]


def copy(file: BinaryIO, to: Any, size: int) -> None:
    """Copy the first `size` bytes of a file, with at most COPY_BYTES in memory."""
    file.seek(0)
    while size > 0 and (data := file.read(min(COPY_BYTES, size))):
        write_all(to, data)
        size -= len(data)
