"""Loads photos for scoring: fetches, checks, encodes the rendition, prepares it, stores it.

A photo whose SHA-256 is known is neither encoded nor embedded again. A new rendition is stored by a
call of its own, so that a model need not wait for it; a row that refers to it must. Works on an
event loop, many ads concurrently; limits how many photos are in memory as bytes at once.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
import structlog
from numpy.typing import NDArray

from ops.errors import BadInputError, Reason, StoredObjectError
from ops.models.release import Preprocessing
from ops.photos.memory import decode_bytes
from ops.photos.rendition import make_rendition
from ops.scoring.ads import AnsweredBy, LoadedPhoto, LoadedPhotos
from ops.types import Failure, PhotoRef, Rendition
from resources.photos.decoders import LARGE_SOURCE_BYTES, Budget, Decoders
from resources.photos.fetch import PhotoFetcher
from resources.photos.known_photos import KnownPhoto, Lookups
from resources.photos.progress import Call, Progress
from resources.photos.writers import RenditionWriters
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore

PHOTOS_AT_ONCE = 64
"""Photos whose source bytes are in memory at once, from fetch to decode."""

log = structlog.get_logger()

Image = NDArray[np.uint8]
Prepare = Callable[[bytes, Preprocessing], Image]


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """The limits of one photo, and of decoding."""

    max_bytes: int  # of an upload; the fetcher has its own limit
    max_pixels: int
    max_unscaled_pixels: int  # in formats that can't be decoded at a smaller scale
    threads: int  # photos that are checked and encoded at once, without large ones
    memory_bytes: int  # what the large photos that are decoded may take at once

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The limits of LALAFO_MAX_PHOTO_…, LALAFO_PHOTO_THREADS and LALAFO_PHOTO_MEMORY_BYTES."""
        return cls(
            max_bytes=settings.max_photo_bytes,
            max_pixels=settings.max_photo_pixels,
            max_unscaled_pixels=settings.max_unscaled_photo_pixels,
            threads=settings.photo_threads,
            memory_bytes=settings.photo_memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """What a call of `load` is to return of each photo."""

    views: Mapping[str, Preprocessing]
    answered_by: tuple[AnsweredBy, ...]


class PhotoLoader:
    """Loads photos for scoring; an async context manager, bound to one event loop.

    Args:
        fetcher: creates the fetcher, on the event loop that it will use.
        prepare: turns a rendition's bytes into a view of it (`ops.models.embed.prepare`).
    """

    def __init__(
        self,
        *,
        database: Database,
        store: PhotoStore,
        fetcher: Callable[[], PhotoFetcher],
        prepare: Prepare,
        limits: PhotoLimits,
    ) -> None:
        self.database = database
        self.store = store
        self.prepare = prepare
        self.limits = limits
        self._new_fetcher = fetcher

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(PHOTOS_AT_ONCE)
        self._progress = Progress()
        self._lookups = Lookups(self.database)
        self._decoders = Decoders(
            threads=self.limits.threads, memory_bytes=self.limits.memory_bytes
        )
        self._large_sources = Budget(LARGE_SOURCE_BYTES)
        self._writers = RenditionWriters(self.store)
        self._fetcher = await self._new_fetcher().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._fetcher.__aexit__(None, None, None)
        self._lookups.close()
        self._decoders.close()
        self._writers.close()

    async def load(
        self,
        refs: Sequence[PhotoRef],
        views: Mapping[str, Preprocessing],
        *,
        answered_by: Sequence[AnsweredBy] = (),
        came_back: Callable[[], None] = lambda: None,
    ) -> LoadedPhotos:
        """Load every one of `refs`, as a photo or as a failure; stores no new rendition.

        Args:
            views: what each photo is prepared for, by backbone or by size of pixels.
            answered_by: releases and tasks, whose answers of known photos are read.
            came_back: for a watchdog, see `progress.py`.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable; the call can be repeated.
        """
        distinct = list(dict.fromkeys(refs))
        with self._progress.call(came_back) as call:
            timer = _Timer(call)
            what = _Request(views, tuple(answered_by))
            loads = [self._load(ref, what, timer) for ref in distinct]
            loaded = await asyncio.gather(*loads) if len(loads) > 1 else [await loads[0]]
        return LoadedPhotos(
            dict(zip(distinct, loaded, strict=True)),
            fetch_ms=timer.fetch_ms,
            photos_ms=timer.photos_ms,
        )

    async def store_renditions(
        self, renditions: Sequence[Rendition], *, came_back: Callable[[], None] = lambda: None
    ) -> None:
        """See `RenditionWriters.write`."""
        await self._writers.write(renditions, came_back)

    async def _load(
        self, ref: PhotoRef, what: "_Request", timer: "_Timer"
    ) -> LoadedPhoto | Failure:
        try:
            return await self._load_or_raise(ref, what, timer)
        except BadInputError as error:
            return Failure(error.reason, error.detail)
        finally:
            timer.loaded()
            self._progress.done(timer.call)

    async def _load_or_raise(self, ref: PhotoRef, what: "_Request", timer: "_Timer") -> LoadedPhoto:
        views = what.views
        async with self._slots:
            try:
                data = None if ref.url is None else await self._fetcher.fetch(ref.url)
            finally:
                timer.fetched()
            sha256 = ref.sha256 if data is None else hashlib.sha256(data).digest()
            assert sha256 is not None
            known = await self._lookups.known(sha256, tuple(sorted(views)), what.answered_by)
            if known is not None:
                stored = await self._decoders.small(
                    timer.call.run, self._stored, sha256, known, views
                )
                if stored is not None:
                    return stored
            if data is None:
                data = await self._decoders.small(timer.call.run, self._uploaded, sha256)
            n_bytes = decode_bytes(data)
            if not self._decoders.is_large(n_bytes):
                return await self._decoders.small(timer.call.run, self._new, sha256, data, views)
            await self._large_sources.acquire(len(data))
        try:
            return await self._decoders.large(
                n_bytes, timer.call.run, self._new, sha256, data, views
            )
        finally:
            self._large_sources.release(len(data))

    def _stored(
        self, sha256: bytes, known: KnownPhoto, views: Mapping[str, Preprocessing]
    ) -> LoadedPhoto | None:
        """A photo with a row; None if its rendition is lost or damaged."""
        missing = {name: how for name, how in views.items() if name not in known.vectors}
        try:
            stored = self.store.get("renditions", known.rendition_sha256) if missing else b""
            images = self._views(stored, missing)
        except (StoredObjectError, BadInputError) as error:
            # It is encoded again from the source, if there is one.
            log.error("photo.rendition_unreadable", sha256=sha256.hex(), error=str(error))
            return None
        return LoadedPhoto(
            sha256, None, known.vectors, images, known.source, known.answers, known.note
        )

    def _new(self, sha256: bytes, data: bytes, views: Mapping[str, Preprocessing]) -> LoadedPhoto:
        """A photo without a row: its rendition is encoded.

        Raises:
            BadInputError: PHOTO_*.
        """
        rendition, images = self._decode(data, views)
        source = rendition.source_width, rendition.source_height
        return LoadedPhoto(sha256, rendition, {}, images, source, note=rendition.note)

    def _uploaded(self, sha256: bytes) -> bytes:
        """The bytes of an upload, verified.

        Raises:
            BadInputError: there is no such upload, or it is too large or damaged.
        """
        n_bytes = self.store.size("uploads", sha256)
        if n_bytes is None:
            raise BadInputError(Reason.FETCH_UNKNOWN_SHA256, f"no photo {sha256.hex()} is stored")
        if n_bytes > self.limits.max_bytes:
            raise BadInputError(
                Reason.FETCH_TOO_LARGE,
                f"the photo has {n_bytes} bytes; {self.limits.max_bytes} are allowed",
            )
        try:
            return self.store.get("uploads", sha256)
        except StoredObjectError as error:
            log.error("photo.upload_unreadable", sha256=sha256.hex(), error=str(error))
            raise BadInputError(
                Reason.FETCH_UNKNOWN_SHA256, f"the stored photo {sha256.hex()} is damaged"
            ) from error

    def _decode(
        self, data: bytes, views: Mapping[str, Preprocessing]
    ) -> tuple[Rendition, dict[str, Image]]:
        """The rendition, and each view of it."""
        if views:
            rendition = self._rendition(data, verify=False)
            with suppress(BadInputError):
                return rendition, self._prepare(rendition, views)
        # The strict check finds the reason, or re-encodes what only a strict decoder refuses.
        rendition = self._rendition(data, verify=True)
        return rendition, self._prepare(rendition, views)

    def _rendition(self, data: bytes, *, verify: bool) -> Rendition:
        return make_rendition(
            data,
            max_pixels=self.limits.max_pixels,
            max_unscaled_pixels=self.limits.max_unscaled_pixels,
            verify=verify,
        )

    def _prepare(
        self, rendition: Rendition, views: Mapping[str, Preprocessing]
    ) -> dict[str, Image]:
        return self._views(rendition.data, views)

    def _views(self, data: bytes, views: Mapping[str, Preprocessing]) -> dict[str, Image]:
        """Each view of a rendition; those that differ in their normalisation alone are one."""
        made: dict[object, Image] = {}
        images: dict[str, Image] = {}
        for name, how in views.items():
            if how.pixels not in made:
                made[how.pixels] = self.prepare(data, how)
            images[name] = made[how.pixels]
        return images


async def load_photos(
    loader: PhotoLoader, refs: Sequence[PhotoRef]
) -> Mapping[PhotoRef, LoadedPhoto | Failure]:
    """Open a loader, load and store photos without preparing them for a backbone, and close it."""
    if not refs:
        return {}
    async with loader:
        photos = await loader.load(refs, {})
        await loader.store_renditions(list(photos.renditions.values()))
        return photos.by_ref


class _Timer:
    """How long an ad's photos took: to fetch all, and from then on to load all."""

    def __init__(self, call: Call) -> None:
        self.call = call
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
