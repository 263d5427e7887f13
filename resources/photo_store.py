"""Where renditions and thumbnails are kept: content-addressed, <store>/<kind>/ab/cd/<sha256>.jpg.

Decides layout, atomicity and durability; refuses to know what the bytes show. What `put` returned
for is on disk, so that a row in PostgreSQL can name it; what `get` returns is what was put.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from hashlib import sha256 as new_sha256
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

import fsspec

from ops.errors import ConfigurationError, LalafoError, RetryableError, StoredObjectError

Kind = Literal["renditions", "thumbnails"]

_SETTING = "LALAFO_STORE_URL"
_SETTLED_S = 60.0
"""A file whose name is older than this is on disk: kernels write back within half of it."""

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
        try:
            filesystem, root = fsspec.core.url_to_fs(store_url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(f"{_SETTING}={store_url}: {error}") from error
        self._objects: _Objects = (
            _LocalFolder(root, fsync=fsync)
            if filesystem.protocol[0] == "file"
            else _RemoteFolder(filesystem, root)
        )

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

    def exists(self, kind: Kind, sha256: bytes) -> bool:
        """Whether an object of this name is stored; its bytes are not looked at."""
        with _storage_errors(self.url(kind, sha256)):
            return self._objects.exists(_name(kind, sha256))

    def url(self, kind: Kind, sha256: bytes) -> str:
        """The object's fsspec URL, stored or not; file:///… for a local folder."""
        return self._objects.url(_name(kind, sha256))


def _name(kind: Kind, sha256: bytes) -> str:
    if len(sha256) != 32:
        raise StoredObjectError(f"a SHA-256 has 32 bytes, {len(sha256)} came")
    digest = sha256.hex()
    return f"{kind}/{digest[:2]}/{digest[2:4]}/{digest}.jpg"


class _Objects(Protocol):
    """Bytes by name. `read` raises FileNotFoundError where there is none; `put` leaves an object
    of the same name and size alone."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None: ...

    def url(self, name: str) -> str: ...


class _LocalFolder:
    """A folder on this machine: whole files only, and on disk when `put` returns.

    Not through fsspec, whose local files know neither fsync nor a rename within their own folder.
    """

    def __init__(self, root: str, *, fsync: bool) -> None:
        self._root = root.rstrip("/")
        self._fsync = fsync
        self._numbers = count()

    def exists(self, name: str) -> bool:
        return self._stat(name) is not None

    def read(self, name: str) -> bytes:
        with open(f"{self._root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - the hot path: no Path
            return file.read()

    def put(self, name: str, data: bytes) -> None:
        path = Path(self._root, name)
        present = self._stat(name)
        if present is None or present.st_size != len(data):
            self._make_folder(path.parent)
            self._write(path, data)
        elif time.time() - present.st_ctime > _SETTLED_S:
            return
        self._sync_folder(path.parent)  # also where another writer has not come to it yet

    def url(self, name: str) -> str:
        return f"file://{self._root}/{name}"

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(f"{self._root}/{name}")  # noqa: PTH116 - as in read
        except FileNotFoundError:
            return None

    def _write(self, path: Path, data: bytes) -> None:
        # A name of its own for each writer: two that put the same photo must not share a file.
        writer = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        unfinished = path.with_name(f".{path.stem}.{writer}")
        try:
            with unfinished.open("xb", buffering=0) as file:
                _write_all(file, data)
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


class _RemoteFolder:
    """Any other fsspec file system. Object stores write whole objects; elsewhere `put`'s look at
    the size and `get`'s at the digest catch a torn one."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def exists(self, name: str) -> bool:
        return self._size(name) is not None

    def read(self, name: str) -> bytes:
        return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        if self._size(name) == len(data):
            return
        try:
            self._filesystem.pipe_file(f"{self._root}/{name}", data)
        except FileNotFoundError as error:
            # Not made here: fsspec would make a bucket, with nobody's settings for it.
            raise ConfigurationError(f"{_SETTING}: {self._root} does not exist") from error

    def url(self, name: str) -> str:
        return str(self._filesystem.unstrip_protocol(f"{self._root}/{name}"))

    def _size(self, name: str) -> int | None:
        try:
            return int(self._filesystem.size(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None


def _write_all(file: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # an unbuffered write may take less than it was given
        rest = rest[file.write(rest) :]


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
