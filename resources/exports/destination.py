"""Where an export's files go: a folder, or any fsspec URL. Files appear whole, or not at all.

A file is written on this machine first. In a folder it is renamed when it is on disk; object stores
show an object when its upload is complete; elsewhere it is uploaded beside its place and moved.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resources.storage.filesystems import has_folders, is_local, open_filesystem, store_errors

UNFINISHED = ".unfinished"
_LEFT_BEHIND_S = 3600.0  # since its last write, a file of an export that was killed


class Destination:
    """A folder or fsspec URL.

    Args:
        setting: where the URL comes from, for messages.

    Raises:
        ConfigurationError: the protocol is unknown, or its package is not installed.
    """

    def __init__(self, url: str, setting: str) -> None:
        self._setting = setting
        path = url if "://" in url or "::" in url else str(Path(url).expanduser().absolute())
        self._filesystem, root = open_filesystem(path, setting)
        self._root = root.rstrip("/")
        self._local = is_local(self._filesystem)

    def url(self, name: str = "") -> str:
        """The URL of a file, or of the whole."""
        path = f"{self._root}/{name}".rstrip("/")
        return str(self._filesystem.unstrip_protocol(path))

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """Yield the path of a local file to write; at the end of the block it is published.

        After an error in the block, or a kill, the file that was there before stays.

        Raises:
            ConfigurationError: access is denied, or the bucket is missing.
            RetryableError: the place is unavailable or full.
        """
        try:
            if self._local:
                with self._beside(Path(self._root, name)) as unfinished:
                    yield unfinished
                return
            with TemporaryDirectory(prefix="lalafo-export-") as folder:
                path = Path(folder, name.rpartition("/")[2])
                yield path
                with self._errors(name):
                    self._upload(path, f"{self._root}/{name}")
        except OSError:  # of the file; those of PostgreSQL are of other classes
            with self._errors(name):
                raise

    def _errors(self, name: str) -> contextlib.AbstractContextManager[None]:
        return store_errors(self.url(name), self._setting)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._errors(name), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def _beside(self, path: Path) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(path)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{UNFINISHED}")
        try:
            yield unfinished
            _sync(unfinished)
            unfinished.replace(path)
            _sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)

    def _upload(self, path: Path, target: str) -> None:
        """Upload to the place itself where that is atomic, else beside it."""
        put: Callable[[str, str], Any] = self._filesystem.put_file
        if not has_folders(self._filesystem):
            put(str(path), target)
            return
        folder, _, name = target.rpartition("/")
        self._filesystem.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}{UNFINISHED}"
        try:
            put(str(path), unfinished)
            self._filesystem.mv(unfinished, target)
        except BaseException:
            with contextlib.suppress(Exception):
                self._filesystem.rm_file(unfinished)
            raise


def _remove_left_behind(path: Path) -> None:
    for old in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _LEFT_BEHIND_S:
                old.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
