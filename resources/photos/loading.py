"""Loads photos for scoring: fetches, checks, encodes the rendition, stores it, prepares it.

A photo whose SHA-256 is known is neither encoded nor embedded again, and a rendition is on disk
before any row can refer to it. Works on an event loop, many ads concurrently; limits how many
photos are in memory as bytes at once.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray

from ops.errors import BadInputError, Reason, StoredObjectError
from ops.models.release import Preprocessing
from ops.photos.rendition import make_rendition
from ops.scoring.ads import LoadedPhoto, LoadedPhotos
from ops.types import Failure, PhotoRef, Rendition
from resources.photos.fetch import PhotoFetcher
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

PHOTOS_AT_ONCE = 64
"""Photos whose source bytes are in memory at once, from fetch to decode."""

LOOKUPS_AT_ONCE = 256

log = structlog.get_logger()

Image = NDArray[np.uint8]
Prepare = Callable[[bytes, Preprocessing], Image]


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """What PostgreSQL has stored about a photo."""

    rendition_sha256: bytes
    vectors: Mapping[str, NDArray[np.float16]]  # by backbone


def read_known_photos(
    database: Database, sha256s: Sequence[bytes], backbones: Sequence[str]
) -> dict[bytes, KnownPhoto]:
    """Those of the photos that are stored, with their embeddings under these backbones."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.sha256, p.rendition_sha256, e.backbone, e.embedding "
            "FROM lalafo.photos AS p LEFT JOIN lalafo.embeddings AS e "
            "ON e.sha256 = p.sha256 AND e.backbone = ANY(%s) WHERE p.sha256 = ANY(%s)",
            (list(backbones), list(sha256s)),
            binary=True,
        )
        stored: dict[bytes, tuple[bytes, dict[str, NDArray[np.float16]]]] = {}
        for sha256, rendition, backbone, vector in cursor.fetchall():
            _, vectors = stored.setdefault(sha256, (rendition, {}))
            if backbone is not None:
                vectors[backbone] = vector
    return {sha256: KnownPhoto(*parts) for sha256, parts in stored.items()}


class PhotoLoader:
    """Loads photos for scoring; an async context manager, bound to one event loop.

    Args:
        fetcher: creates the fetcher, on the event loop that it will use.
        prepare: turns a rendition's bytes into a backbone's input (`ops.models.embed.prepare`).
        max_bytes: limit for an uploaded photo; the fetcher has its own limit.
        threads: how many photos are checked, encoded and stored at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: PhotoStore,
        fetcher: Callable[[], PhotoFetcher],
        prepare: Prepare,
        max_bytes: int,
        max_pixels: int,
        threads: int,
    ) -> None:
        self.database = database
        self.store = store
        self.prepare = prepare
        self.max_bytes = max_bytes
        self.max_pixels = max_pixels
        self._new_fetcher = fetcher
        self._n_threads = threads

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(PHOTOS_AT_ONCE)
        self._lookups = _Lookups(self.database)
        self._threads = ThreadPoolExecutor(self._n_threads, thread_name_prefix="photo")
        self._fetcher = await self._new_fetcher().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._fetcher.__aexit__(None, None, None)
        self._lookups.close()
        self._threads.shutdown()

    async def load(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> LoadedPhotos:
        """Load every one of `refs`, as a photo or as a failure with its reason.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable; the call can be repeated.
        """
        timer = _Timer()
        distinct = list(dict.fromkeys(refs))
        loads = [self._load(ref, backbones, timer) for ref in distinct]
        loaded = await asyncio.gather(*loads) if len(loads) > 1 else [await loads[0]]
        return LoadedPhotos(
            dict(zip(distinct, loaded, strict=True)),
            fetch_ms=timer.fetch_ms,
            photos_ms=timer.photos_ms,
        )

    async def _load(
        self, ref: PhotoRef, backbones: Mapping[str, Preprocessing], timer: "_Timer"
    ) -> LoadedPhoto | Failure:
        async with self._slots:
            try:
                data = None if ref.url is None else await self._fetcher.fetch(ref.url)
            except BadInputError as error:
                timer.fetched()
                return Failure(error.reason, error.detail)
            timer.fetched()
            if data is None:
                assert ref.sha256 is not None
                sha256 = ref.sha256
            else:
                sha256 = hashlib.sha256(data).digest()
            known = await self._lookups.known(sha256, tuple(sorted(backbones)))
            loaded = await self._loop.run_in_executor(
                self._threads, self._load_in_thread, sha256, data, known, backbones
            )
            timer.loaded()
            return loaded

    def _load_in_thread(
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
                # Lost or damaged in the store: encode it again from the source, if there is one.
                log.error("photo.rendition_unreadable", sha256=sha256.hex(), error=str(error))
        try:
            data = self._uploaded(sha256) if data is None else data
            rendition, images = self._decode(data, backbones)
        except BadInputError as error:
            return Failure(error.reason, error.detail)
        self.store.put("renditions", rendition.sha256, rendition.data)
        return LoadedPhoto(sha256, rendition, {}, images)

    def _uploaded(self, sha256: bytes) -> bytes:
        """The bytes of an upload, verified.

        Raises:
            BadInputError: there is no such upload, or it is too large or damaged.
        """
        n_bytes = self.store.size("uploads", sha256)
        if n_bytes is None:
            raise BadInputError(Reason.FETCH_UNKNOWN_SHA256, f"no photo {sha256.hex()} is stored")
        if n_bytes > self.max_bytes:
            raise BadInputError(
                Reason.FETCH_TOO_LARGE,
                f"the photo has {n_bytes} bytes; {self.max_bytes} are allowed",
            )
        try:
            return self.store.get("uploads", sha256)
        except StoredObjectError as error:
            log.error("photo.upload_unreadable", sha256=sha256.hex(), error=str(error))
            raise BadInputError(
                Reason.FETCH_UNKNOWN_SHA256, f"the stored photo {sha256.hex()} is damaged"
            ) from error

    def _decode(
        self, data: bytes, backbones: Mapping[str, Preprocessing]
    ) -> tuple[Rendition, dict[str, Image]]:
        """The rendition, and each backbone's input."""
        if backbones:
            rendition = make_rendition(data, max_pixels=self.max_pixels, verify=False)
            with suppress(BadInputError):
                return rendition, self._prepare(rendition, backbones)
        # The strict check finds the reason, or re-encodes what only a strict decoder refuses.
        rendition = make_rendition(data, max_pixels=self.max_pixels)
        return rendition, self._prepare(rendition, backbones)

    def _prepare(
        self, rendition: Rendition, backbones: Mapping[str, Preprocessing]
    ) -> dict[str, Image]:
        return {name: self.prepare(rendition.data, how) for name, how in backbones.items()}


async def load_photos(
    loader: PhotoLoader, refs: Sequence[PhotoRef]
) -> Mapping[PhotoRef, LoadedPhoto | Failure]:
    """Open a loader, load photos without preparing them for a backbone, and close it."""
    async with loader:
        return (await loader.load(refs, {})).by_ref if refs else {}


class _Timer:
    """How long an ad's photos took: to fetch all, and from then on to load all."""

    def __init__(self) -> None:
        self._started = self._fetched = self._loaded = time.perf_counter()

    def fetched(self) -> None:
        self._fetched = self._loaded = time.perf_counter()

    def loaded(self) -> None:
        self._loaded = time.perf_counter()

    @property
    def fetch_ms(self) -> float:
        return (self._fetched - self._started) * 1e3

    @property
    def photos_ms(self) -> float:
        return (self._loaded - self._fetched) * 1e3


class _Lookups:
    """Looks up known photos in PostgreSQL, many per query.

    One query runs at a time; lookups that arrive meanwhile are collected for the next one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="photo-lookup")
        self._waiting: list[tuple[bytes, tuple[str, ...], asyncio.Future[KnownPhoto | None]]] = []
        self._running = False

    async def known(self, sha256: bytes, backbones: tuple[str, ...]) -> KnownPhoto | None:
        """What is stored about a photo; None if it is unknown.

        Raises:
            RetryableError: PostgreSQL is unavailable.
        """
        result: asyncio.Future[KnownPhoto | None] = self._loop.create_future()
        self._waiting.append((sha256, backbones, result))
        if not self._running:
            self._running = True
            self._loop.call_soon(self._query)
        return await result

    def close(self) -> None:
        self._thread.shutdown()

    def _query(self) -> None:
        batch, self._waiting = self._waiting[:LOOKUPS_AT_ONCE], self._waiting[LOOKUPS_AT_ONCE:]
        # Almost always all lookups are for the same backbones; reading a superset is harmless.
        backbones = sorted({name for _, names, _ in batch for name in names})
        shas = list({sha256 for sha256, _, _ in batch})
        found = self._loop.run_in_executor(
            self._thread, read_known_photos, self._database, shas, backbones
        )
        found.add_done_callback(lambda done: self._resolve(batch, done))

    def _resolve(
        self,
        batch: list[tuple[bytes, tuple[str, ...], "asyncio.Future[KnownPhoto | None]"]],
        done: "asyncio.Future[dict[bytes, KnownPhoto]]",
    ) -> None:
        for sha256, _, result in batch:
            if result.done():
                continue  # its ad was cancelled meanwhile
            error = done.exception()
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(done.result().get(sha256))
        self._running = bool(self._waiting)
        if self._running:
            self._loop.call_soon(self._query)
