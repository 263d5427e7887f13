"""The photo store: content-addressed renditions, thumbnails and uploads.

Renditions and thumbnails are at <store>/<kind>/ab/cd/<sha256>.jpg. Uploads, the unchanged bytes
that callers sent, have no file extension, whatever their format.

Owns layout, atomicity and durability. Does not depend on what the bytes show. When `put` returns,
the object is on disk, so that a row in PostgreSQL can refer to it; `get` returns the bytes that
were put.
"""

import contextlib
from collections.abc import Iterator
from hashlib import sha256 as new_sha256
from typing import BinaryIO, Literal, get_args

from ops.errors import StoredObjectError
from resources.storage.filesystems import shown, store_errors
from resources.storage.objects import COPY_BYTES, RENEWED_AFTER_S
from resources.storage.remote import open_objects

__all__ = ["RENEWED_AFTER_S", "Kind", "PhotoStore"]

Kind = Literal["renditions", "thumbnails", "uploads"]


class PhotoStore:
    """Objects by the SHA-256 of their bytes, in a local folder or at an fsspec URL.

    Safe for concurrent use by threads and processes: equal names mean equal bytes.

    Args:
        store_url: a folder, or a URL such as `s3://bucket/prefix`.
        fsync: in a local folder, `put` waits for the disk. Only tests turn it off.

    Raises:
        ConfigurationError: the URL's protocol is unknown, or its package is not installed.
    """

    def __init__(self, store_url: str, *, fsync: bool = True) -> None:
        self._objects = open_objects(store_url, fsync=fsync)

    def put(self, kind: Kind, sha256: bytes, data: bytes) -> None:
        """Store the object; returns at once if one of this name and size exists.

        Raises:
            StoredObjectError: `data` has another SHA-256; nothing is stored.
            RetryableError: the store is unavailable or full.
            ConfigurationError: access to the store was denied.
        """
        if new_sha256(data).digest() != sha256:
            raise StoredObjectError(
                f"{len(data)} bytes to be stored as {kind} {sha256.hex()} have another SHA-256"
            )
        name = _name(kind, sha256)
        with _storage_errors(self.url(kind, sha256)):
            self._objects.put(name, data)

    def put_file(self, kind: Kind, sha256: bytes, file: BinaryIO) -> int:
        """As `put`, from an open file, without reading all of it into memory.

        The file is read twice: to verify its SHA-256, and to copy it.

        Returns: its size in bytes.
        """
        actual, size = new_sha256(), 0
        file.seek(0)
        while data := file.read(COPY_BYTES):
            actual.update(data)
            size += len(data)
        if actual.digest() != sha256:
            raise StoredObjectError(
                f"{size} bytes to be stored as {kind} {sha256.hex()} have another SHA-256"
            )
        name = _name(kind, sha256)
        with _storage_errors(self.url(kind, sha256)):
            self._objects.put_file(name, file, size)
        return size

    def get(self, kind: Kind, sha256: bytes) -> bytes:
        """The object's bytes, verified.

        Raises:
            StoredObjectError: it is missing, or its bytes are not those that were put.
            RetryableError: the store is unavailable.
            ConfigurationError: access to the store was denied.
        """
        url = self.url(kind, sha256)
        with _storage_errors(url):
            data = self._objects.read(_name(kind, sha256))
        if new_sha256(data).digest() != sha256:
            raise StoredObjectError(
                f"{url} is damaged: its {len(data)} bytes have another SHA-256. Delete it, then "
                "fetch its photo again or restore it from a copy."
            )
        return data

    def delete(self, kind: Kind, sha256: bytes, *, unless_put_within_s: float = 0.0) -> bool:
        """Delete the object; does nothing if there is none.

        Another process may have put it again and be about to commit a row that refers to it: `put`
        renews an object's time, and this call leaves recent objects alone. In a local folder this
        holds for every interleaving, though the object may be missing for an instant. Elsewhere a
        put between this call's check and its deletion is lost.

        Args:
            unless_put_within_s: keep the object if it was put, for the first time or again, within
                so many seconds. Choose well over RENEWED_AFTER_S.

        Returns: whether it is deleted.

        Raises:
            RetryableError: the store is unavailable.
            ConfigurationError: access to the store was denied.
        """
        with _storage_errors(self.url(kind, sha256)):
            return self._objects.delete(_name(kind, sha256), unless_put_within_s)

    def remove_unfinished(self, older_than_s: float, *, part: int = 0, of: int = 1) -> int:
        """Remove the temporary files that a killed `put` or `delete` left in a local folder.

        Other stores have none, and nothing is done.

        Args:
            older_than_s: minimum age in seconds; newer files may be in use.
            part: which of `of` equal parts of the store to scan, from 0 on; a scan reads every
                folder of its part.

        Returns: the number of removed files.
        """
        with _storage_errors(self._objects.url("")):
            return self._objects.remove_unfinished(get_args(Kind), older_than_s, part=part, of=of)

    def exists(self, kind: Kind, sha256: bytes) -> bool:
        """Whether an object of this name is stored; its bytes are not read."""
        return self.size(kind, sha256) is not None

    def size(self, kind: Kind, sha256: bytes) -> int | None:
        """The object's size in bytes, None if there is none; its bytes are not read."""
        with _storage_errors(self.url(kind, sha256)):
            return self._objects.size(_name(kind, sha256))

    def url(self, kind: Kind, sha256: bytes) -> str:
        """The object's fsspec URL, whether or not it is stored; file:///… for a local folder."""
        return self._objects.url(_name(kind, sha256))


def _name(kind: Kind, sha256: bytes) -> str:
    if len(sha256) != 32:
        raise StoredObjectError(f"a SHA-256 has 32 bytes, got {len(sha256)}")
    digest = sha256.hex()
    suffix = "" if kind == "uploads" else ".jpg"
    return f"{kind}/{digest[:2]}/{digest[2:4]}/{digest}{suffix}"


@contextlib.contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Raise the errors of file systems as LalafoErrors."""
    try:
        with store_errors(url):
            yield
    except FileNotFoundError as error:
        raise StoredObjectError(f"{shown(url)} is missing from the store") from error
