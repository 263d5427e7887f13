"""Where renditions and thumbnails are kept: content-addressed, <store>/<kind>/ab/cd/<sha256>.jpg.
And uploads, the bytes that callers sent, as they came: without an ending, whatever they show.

Decides layout, atomicity and durability; refuses to know what the bytes show. What `put` returned
for is on disk, so that a row in PostgreSQL can name it; what `get` returns is what was put.
"""

import contextlib
import errno
from collections.abc import Iterator
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from ops.errors import ConfigurationError, LalafoError, RetryableError, StoredObjectError
from resources.storage.objects import (
    COPY_BYTES,
    RENEWED_AFTER_S,
    LocalFolder,
    Objects,
    RemoteFolder,
)

__all__ = ["RENEWED_AFTER_S", "Kind", "PhotoStore"]

Kind = Literal["renditions", "thumbnails", "uploads"]

_SETTING = "LALAFO_STORE_URL"
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


class PhotoStore:
    """Objects by the SHA-256 of their bytes, in a local folder or at an fsspec URL.

    Safe to use from many threads and processes at once: equal names mean equal bytes.

    Args:
        store_url: a folder, or a URL such as `s3://bucket/prefix`.
        fsync: in a local folder, have `put` wait for the disk. Only tests turn it off.

    Raises ConfigurationError if the URL's protocol is unknown or its package is missing.
    """

    def __init__(self, store_url: str, *, fsync: bool = True) -> None:
        self._objects = _opened(store_url, fsync=fsync)

    def put(self, kind: Kind, sha256: bytes, data: bytes) -> None:
        """Store the object; at once if one of this name and size is there.

        Raises:
            StoredObjectError: `data` has another SHA-256; nothing is stored.
            RetryableError: the store is away or full.
            ConfigurationError: the store may not be written.
        """
        if new_sha256(data).digest() != sha256:
            raise StoredObjectError(
                f"{len(data)} bytes to be stored as {kind} {sha256.hex()} have another SHA-256"
            )
        name = _name(kind, sha256)
        with _storage_errors(self.url(kind, sha256)):
            self._objects.put(name, data)

    def put_file(self, kind: Kind, sha256: bytes, file: BinaryIO) -> int:
        """As `put`, from an open file, which is never held whole in memory; how many bytes.

        The file is read twice: to be judged by its SHA-256, and to be copied.
        """
        found, size = new_sha256(), 0
        file.seek(0)
        while data := file.read(COPY_BYTES):
            found.update(data)
            size += len(data)
        if found.digest() != sha256:
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
            RetryableError: the store is away.
            ConfigurationError: the store may not be read.
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
        """Delete the object; at once if there is none.

        Somebody may have put it again and be about to name it in a row: `put` renews an object's
        time, and this leaves young ones alone. In a local folder that holds however the two
        interleave, though it may be missing for an instant; elsewhere a put between this call's
        look and its deletion is lost.

        Args:
            unless_put_within_s: leave it where it was put, first or again, within so long. Take
                well over RENEWED_AFTER_S.

        Returns: whether it is gone.

        Raises:
            RetryableError: the store is away.
            ConfigurationError: the store may not be written.
        """
        with _storage_errors(self.url(kind, sha256)):
            return self._objects.delete(_name(kind, sha256), unless_put_within_s)

    def remove_unfinished(self, older_than_s: float, *, part: int = 0, of: int = 1) -> int:
        """Remove what a killed `put` or `delete` left behind in a local folder; how many files.

        Elsewhere there is nothing of the kind, and nothing is done.

        Args:
            older_than_s: younger ones may be at work.
            part: which of `of` equal parts of the store to look through, from 0 on: the walk
                reads every folder.
        """
        with _storage_errors(self._objects.url("")):
            return self._objects.remove_unfinished(get_args(Kind), older_than_s, part=part, of=of)

    def exists(self, kind: Kind, sha256: bytes) -> bool:
        """Whether an object of this name is stored; its bytes are not looked at."""
        return self.size(kind, sha256) is not None

    def size(self, kind: Kind, sha256: bytes) -> int | None:
        """How many bytes the object has, None where there is none; they are not looked at."""
        with _storage_errors(self.url(kind, sha256)):
            return self._objects.size(_name(kind, sha256))

    def url(self, kind: Kind, sha256: bytes) -> str:
        """The object's fsspec URL, stored or not; file:///… for a local folder."""
        return self._objects.url(_name(kind, sha256))


def _opened(store_url: str, *, fsync: bool) -> Objects:
    if "://" not in store_url and "::" not in store_url:
        return LocalFolder(str(Path(store_url).expanduser().absolute()), fsync=fsync)
    import fsspec  # here, since a gateway with a folder starts without it

    try:
        filesystem, root = fsspec.core.url_to_fs(store_url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{_SETTING}={store_url}: {error}") from error
    if filesystem.protocol[0] == "file":
        return LocalFolder(root, fsync=fsync)
    return RemoteFolder(filesystem, root)


def _name(kind: Kind, sha256: bytes) -> str:
    if len(sha256) != 32:
        raise StoredObjectError(f"a SHA-256 has 32 bytes, {len(sha256)} came")
    digest = sha256.hex()
    ending = "" if kind == "uploads" else ".jpg"
    return f"{kind}/{digest[:2]}/{digest[2:4]}/{digest}{ending}"


@contextlib.contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Translate what file systems raise into our tree."""
    try:
        yield
    except LalafoError:
        raise
    except FileNotFoundError as error:
        raise StoredObjectError(f"{url} is missing from the store") from error
    except OSError as error:
        if error.errno in _DENIED or isinstance(error, PermissionError):
            raise ConfigurationError(
                f"{_SETTING}: access to {url} was denied ({error.strerror or error})"
            ) from error
        raise RetryableError(f"{_SETTING}: the store is away or full ({error})") from error
    except Exception as error:  # each backend has errors of its own: botocore, aiohttp, gcsfs …
        raise RetryableError(
            f"{_SETTING}: the store is away ({type(error).__name__}: {error})"
        ) from error
