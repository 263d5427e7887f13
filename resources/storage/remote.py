"""Object storage on any fsspec file system, and the choice of a store by its URL.

Owns which class serves a URL. Does not depend on what names and bytes mean.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from resources.storage.filesystems import is_local, missing_bucket, open_filesystem
from resources.storage.objects import RENEWED_AFTER_S, LocalFolder, Objects, copy


def open_objects(store_url: str, *, fsync: bool = True) -> Objects:
    """The objects below a folder, or at an fsspec URL.

    Raises:
        ConfigurationError: the URL's protocol is unknown, or its package is not installed.
    """
    if "://" not in store_url and "::" not in store_url:
        # Without fsspec: a gateway with a local folder starts faster.
        return LocalFolder(str(Path(store_url).expanduser().absolute()), fsync=fsync)
    filesystem, root = open_filesystem(store_url)
    if is_local(filesystem):
        return LocalFolder(root, fsync=fsync)
    return RemoteFolder(filesystem, root)


class RemoteFolder:
    """Any other fsspec file system.

    Object stores write whole objects. Elsewhere a partial object is detected by `put`, by its
    size, and by the reader, by its digest.
    """

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
            with self._require_root():
                self._filesystem.pipe_file(f"{self._root}/{name}", data)

    def put_file(self, name: str, file: BinaryIO, size: int) -> None:
        if self._is_recent(name, size):
            return
        with self._require_root(), self._filesystem.open(f"{self._root}/{name}", "wb") as to:
            copy(file, to, size)

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
    def _require_root(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            # Not created here: fsspec would create a bucket with default settings.
            raise missing_bucket(self.url("")) from error

    def _age_s(self, name: str) -> float:
        """Seconds since it was written; infinite if it is missing or the store records no time."""
        try:
            written: datetime = self._filesystem.modified(f"{self._root}/{name}")
        except (FileNotFoundError, NotImplementedError):
            return math.inf
        utc = written.replace(tzinfo=UTC) if written.tzinfo is None else written
        return (datetime.now(UTC) - utc).total_seconds()
