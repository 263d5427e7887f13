"""A photo's way into the store: fetch, check, make the rendition, store it, prepare it.

Decides that a photo known by its SHA-256 is neither encoded nor embedded again, and that a
rendition is on disk before any row can name it. Works in chunks, so that memory is bounded
whatever an ad asks for.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from ops.errors import BadInputError, Reason, StoredObjectError
from ops.photos import make_rendition
from ops.release import Preprocessing
from ops.scoring import LoadedPhoto
from ops.types import Failure, PhotoRef
from resources.database import Database
from resources.photo_fetch import PhotoFetcher
from resources.photo_store import PhotoStore

CHUNK_PHOTOS = 64

log = structlog.get_logger()

Image = NDArray[np.uint8]
Prepare = Callable[[bytes, Preprocessing], Image]


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """What PostgreSQL holds of a photo."""

    rendition_sha256: bytes
    vectors: Mapping[str, NDArray[np.float16]]  # by backbone


def read_known_photos(
    database: Database, sha256s: Sequence[bytes], backbones: Sequence[str]
) -> dict[bytes, KnownPhoto]:
    """The photos of these that are stored, with their embeddings under these backbones."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.sha256, p.rendition_sha256, e.backbone, e.embedding "
            "FROM lalafo.photos AS p LEFT JOIN lalafo.embeddings AS e "
            "ON e.sha256 = p.sha256 AND e.backbone = ANY(%s) WHERE p.sha256 = ANY(%s)",
            (list(backbones), list(sha256s)),
            binary=True,
        )
        found: dict[bytes, tuple[bytes, dict[str, NDArray[np.float16]]]] = {}
        for sha256, rendition, backbone, vector in cursor.fetchall():
            _, vectors = found.setdefault(sha256, (rendition, {}))
            if backbone is not None:
                vectors[backbone] = vector
    return {sha256: KnownPhoto(*parts) for sha256, parts in found.items()}


class PhotoLoader:
    """Loads photos for the scoring; a context manager, used by one thread.

    Args:
        prepare: turns a rendition's bytes into a backbone's input (`ops.embed.prepare`).
        threads: how many photos are checked, encoded and stored at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: PhotoStore,
        fetcher: Callable[[], PhotoFetcher],
        prepare: Prepare,
        max_pixels: int,
        threads: int,
    ) -> None:
        self.database = database
        self.store = store
        self.prepare = prepare
        self.max_pixels = max_pixels
        self._new_fetcher = fetcher
        self._runner = asyncio.Runner()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="photo")

    def __enter__(self) -> "PhotoLoader":
        self._fetcher = self._runner.run(self._new_fetcher().__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._fetcher.__aexit__(kind, error, trace))
        self._runner.close()
        self._threads.shutdown()

    def load(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> dict[PhotoRef, LoadedPhoto | Failure]:
        """Every one of `refs`, as a photo or as the reason why it is none.

        Raises:
            RetryableError: PostgreSQL or the store is away; nothing is lost by asking again.
        """
        loaded: dict[PhotoRef, LoadedPhoto | Failure] = {}
        for start in range(0, len(refs), CHUNK_PHOTOS):
            loaded.update(self._load_chunk(refs[start : start + CHUNK_PHOTOS], backbones))
        return loaded

    def _load_chunk(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> dict[PhotoRef, LoadedPhoto | Failure]:
        fetched = self._runner.run(self._fetch_all(refs))
        sources = {
            ref: _source_of(ref, data)
            for ref, data in zip(refs, fetched, strict=True)
            if not isinstance(data, Failure)
        }
        # Bytes before none: one event may name by SHA-256 what another sends by URL.
        by_sha = dict(sorted(sources.values(), key=lambda source: source[1] is not None))
        known = read_known_photos(self.database, list(by_sha), list(backbones)) if by_sha else {}
        made = dict(
            self._threads.map(
                lambda item: (
                    item[0],
                    self._make(item[0], item[1], known.get(item[0]), backbones),
                ),
                by_sha.items(),
            )
        )
        return {
            ref: data if isinstance(data, Failure) else made[sources[ref][0]]
            for ref, data in zip(refs, fetched, strict=True)
        }

    async def _fetch_all(self, refs: Sequence[PhotoRef]) -> list[bytes | Failure | None]:
        return await asyncio.gather(*(self._fetch(ref) for ref in refs))

    async def _fetch(self, ref: PhotoRef) -> bytes | Failure | None:
        """The photo's bytes; None where the event names them by their SHA-256."""
        if ref.url is None:
            return None
        try:
            return await self._fetcher.fetch(ref.url)
        except BadInputError as error:
            return Failure(error.reason, error.detail)

    def _make(
        self,
        sha256: bytes,
        data: bytes | None,
        known: KnownPhoto | None,
        backbones: Mapping[str, Preprocessing],
    ) -> LoadedPhoto | Failure:
        if known is not None:
            missing = {name: how for name, how in backbones.items() if name not in known.vectors}
            try:
                stored = self.store.get("renditions", known.rendition_sha256) if missing else b""
                images = {name: self.prepare(stored, how) for name, how in missing.items()}
                return LoadedPhoto(sha256, None, known.vectors, images)
            except (StoredObjectError, BadInputError) as error:
                # Lost or damaged in the store: the source, where we have it, makes it anew.
                log.error("photo.rendition_unreadable", sha256=sha256.hex(), error=str(error))
        if data is None:
            return Failure(Reason.FETCH_UNKNOWN_SHA256, f"no photo {sha256.hex()} is stored")
        try:
            rendition = make_rendition(data, max_pixels=self.max_pixels)
        except BadInputError as error:
            return Failure(error.reason, error.detail)
        self.store.put("renditions", rendition.sha256, rendition.data)
        images = {name: self.prepare(rendition.data, how) for name, how in backbones.items()}
        return LoadedPhoto(sha256, rendition, {}, images)


def _source_of(ref: PhotoRef, data: bytes | None) -> tuple[bytes, Any]:
    if data is None:
        assert ref.sha256 is not None
        return ref.sha256, None
    return hashlib.sha256(data).digest(), data
