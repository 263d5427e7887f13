"""Bytes by name, in a folder of this machine or on any fsspec file system.

Decides atomicity, durability, and who wins where one deletes what another puts. Refuses to know
what names and bytes mean.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ops.errors import ConfigurationError

RENEWED_AFTER_S = 300.0
"""A `put` of what is there renews its time where that is older: a hot object costs no write."""

COPY_BYTES = 2**20
"""At once in memory, of an object that is put from a file."""

_SETTLED_S = 60.0
"""A file whose name is older than this is on disk: kernels write back within half of it."""


class Objects(Protocol):
    """Bytes by name. `read` raises FileNotFoundError where there is none; `put` leaves the bytes
    of an object of the same name and size alone, but not its time."""

    def size(self, name: str) -> int | None:
        """Bytes; None where there is none."""

    def read(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None: ...

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        """As `put`, the first `size` bytes of a file that is read from its start."""

    def url(self, name: str) -> str: ...

    def delete(self, name: str, untouched_s: float) -> bool:
        """Whether it is gone; False where it was put within `untouched_s`."""

    def remove_unfinished(
        self, kinds: Iterable[str], older_than_s: float, *, part: int, of: int
    ) -> int: ...


class LocalFolder:
    """A folder on this machine: whole files only, and on disk when `put` returns.

    Not through fsspec, whose local files know neither fsync nor a rename within their own folder.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root.rstrip("/")
        self._fsync = fsync
        self._numbers = count()

    def size(self, name: str) -> int | None:
        present = self._stat(name)
        return None if present is None else present.st_size

    def read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - the hot path: no Path
            return file.read()

    def put(self, name: str, data: bytes) -> None:
        self._put(name, len(data), lambda file: _write_all(file, data))

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        self._put(name, size, lambda to: _copy(file, to, size))

    def _put(self, name: str, size: int, fill: Callable[[Any], None]) -> None:
        path = Path(self._root, name)
        present = self._stat(name)
        if present is None or present.st_size != size or not self._renew(path, present):
            self._make_folder(path.parent)
            self._write(path, fill)
        elif time.time() - present.st_ctime > _SETTLED_S:
            return
        self._sync_folder(path.parent)  # also where another writer has not come to it yet

    def url(self, name: str) -> str:
        return f"file://{self._root}/{name}"

    def delete(self, name: str, untouched_s: float) -> bool:
        path = Path(self._root, name)
        present = self._stat(name)
        if present is None:
            return True
        if time.time() - present.st_mtime < untouched_s:
            return False
        # Out of the way first: whoever puts it from here on finds none and writes it anew, and
        # whoever renewed it since the look has left its mark on what we hold.
        going = self._hidden(path)
        try:
            path.rename(going)
        except FileNotFoundError:
            return True
        if time.time() - going.stat().st_mtime < untouched_s:
            going.replace(path)
            return False
        going.unlink(missing_ok=True)
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

    def _renew(self, path: Path, present: os.stat_result) -> bool:
        """Let a `delete` see that it was put again; False where one has just taken it away.

        The look that follows the mark is what counts: a `delete` may have taken the file away and
        looked at its time between the kernel's finding it for us and marking it. What is in its
        place afterwards, whoever takes it, is seen to be young.
        """
        if time.time() - present.st_mtime < RENEWED_AFTER_S:
            return True
        try:
            os.utime(path)
            return time.time() - path.stat().st_mtime < RENEWED_AFTER_S
        except FileNotFoundError:
            return False

    def _hidden(self, path: Path) -> Path:
        """A name beside it for this writer alone: two at one photo must not share a file."""
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
        """Make the folder and sync the entry of every new one, or a crash could take them all."""
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


class RemoteFolder:
    """Any other fsspec file system. Object stores write whole objects; elsewhere `put`'s look at
    the size and `get`'s at the digest catch a torn one."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def size(self, name: str) -> int | None:
        try:
            return int(self._filesystem.size(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        if not self._is_recent(name, len(data)):
            with self._root_there():
                self._filesystem.pipe_file(f"{self._root}/{name}", data)

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        if self._is_recent(name, size):
            return
        with self._root_there(), self._filesystem.open(f"{self._root}/{name}", "wb") as to:
            _copy(file, to, size)

    def url(self, name: str) -> str:
        return str(self._filesystem.unstrip_protocol(f"{self._root}/{name}"))

    def delete(self, name: str, untouched_s: float) -> bool:
        if self.size(name) is None:
            return True
        if untouched_s > 0 and self._age_s(name) < untouched_s:
            return False
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{name}")
        return True

    def remove_unfinished(
        self, kinds: Iterable[str], older_than_s: float, *, part: int, of: int
    ) -> int:
        return 0

    def _is_recent(self, name: str, size: int) -> bool:
        return self.size(name) == size and self._age_s(name) < RENEWED_AFTER_S

    @contextlib.contextmanager
    def _root_there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            # Not made here: fsspec would make a bucket, with nobody's settings for it.
            raise ConfigurationError(f"LALAFO_STORE_URL: {self._root} does not exist") from error

    def _age_s(self, name: str) -> float:
        """Seconds since it was written; infinite where it is gone or the store keeps no time."""
        try:
            written: datetime = self._filesystem.modified(f"{self._root}/{name}")
        except (FileNotFoundError, NotImplementedError):
            return math.inf
        known = written.replace(tzinfo=UTC) if written.tzinfo is None else written
        return (datetime.now(UTC) - known).total_seconds()


def _write_all(file: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # an unbuffered write may take less than it was given
        rest = rest[file.write(rest) :]


def _copy(file: BinaryIO, to: Any, size: int) -> None:
    """The first bytes of a file to another, never more than COPY_BYTES in memory."""
    file.seek(0)
    while size > 0 and (data := file.read(min(COPY_BYTES, size))):
        _write_all(to, data)
        size -= len(data)
