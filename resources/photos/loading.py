"""A photo's way into the store: fetch, check, make the rendition, store it, prepare it.

Decides that a photo known by its SHA-256 is neither encoded nor embedded again, and that a
rendition is on disk before any row can name it. Works on an event loop, many ads side by side;
how many photos are held as bytes at once is bounded here.
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
"""Held as the bytes that came, from fetch to decode."""

LOOKUPS_AT_ONCE = 256

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
    """Loads photos for the scoring; an async context manager, bound to one event loop.

    Args:
        fetcher: makes the fetcher, on the loop that it will live on.
        prepare: turns a rendition's bytes into a backbone's input (`ops.models.embed.prepare`).
        max_bytes: of a photo that a caller sent; the fetcher has its own limit.
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
        """Every one of `refs`, as a photo or as the reason why it is none.

        Raises:
            RetryableError: PostgreSQL or the store is away; nothing is lost by asking again.
        """
        watch = _Watch()
        distinct = list(dict.fromkeys(refs))
        loads = [self._load(ref, backbones, watch) for ref in distinct]
        loaded = await asyncio.gather(*loads) if len(loads) > 1 else [await loads[0]]
        return LoadedPhotos(
            dict(zip(distinct, loaded, strict=True)),
            fetch_ms=watch.fetch_ms,
            photos_ms=watch.photos_ms,
        )

    async def _load(
        self, ref: PhotoRef, backbones: Mapping[str, Preprocessing], watch: "_Watch"
    ) -> LoadedPhoto | Failure:
        async with self._slots:
            try:
                data = None if ref.url is None else await self._fetcher.fetch(ref.url)
            except BadInputError as error:
                watch.fetched()
                return Failure(error.reason, error.detail)
            watch.fetched()
            if data is None:
                assert ref.sha256 is not None
                sha256 = ref.sha256
            else:
                sha256 = hashlib.sha256(data).digest()
            known = await self._lookups.known(sha256, tuple(sorted(backbones)))
            made = await self._loop.run_in_executor(
                self._threads, self._make, sha256, data, known, backbones
            )
            watch.made()
            return made

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
        try:
            data = self._uploaded(sha256) if data is None else data
            rendition, images = self._decode(data, backbones)
        except BadInputError as error:
            return Failure(error.reason, error.detail)
        self.store.put("renditions", rendition.sha256, rendition.data)
        return LoadedPhoto(sha256, rendition, {}, images)

    def _uploaded(self, sha256: bytes) -> bytes:
        """The bytes that a caller sent, verified; BadInputError where there are none to be used."""
        n_bytes = self.store.size("uploads", sha256)
        if n_bytes is None:
            raise BadInputError(Reason.FETCH_UNKNOWN_SHA256, f"no photo {sha256.hex()} is stored")
        if n_bytes > self.max_bytes:
            raise BadInputError(
                Reason.FETCH_TOO_LARGE,
                f"the photo has {n_bytes} bytes of the {self.max_bytes} that it may have",
            )
        try:
            return self.store.get("uploads", sha256)
        except StoredObjectError as error:
            log.error("photo.upload_unreadable", sha256=sha256.hex(), error=str(error))
            raise BadInputError(
                Reason.FETCH_UNKNOWN_SHA256, f"what is stored of photo {sha256.hex()} is damaged"
            ) from error

    def _decode(
        self, data: bytes, backbones: Mapping[str, Preprocessing]
    ) -> tuple[Rendition, dict[str, Image]]:
        """The rendition, and what each backbone sees of it."""
        if backbones:
            rendition = make_rendition(data, max_pixels=self.max_pixels, verify=False)
            with suppress(BadInputError):
                return rendition, self._prepare(rendition, backbones)
        # A proof finds the reason, or encodes anew what only a strict decoder refuses.
        rendition = make_rendition(data, max_pixels=self.max_pixels)
        return rendition, self._prepare(rendition, backbones)

    def _prepare(
        self, rendition: Rendition, backbones: Mapping[str, Preprocessing]
    ) -> dict[str, Image]:
        return {name: self.prepare(rendition.data, how) for name, how in backbones.items()}


async def load_photos(
    loader: PhotoLoader, refs: Sequence[PhotoRef]
) -> Mapping[PhotoRef, LoadedPhoto | Failure]:
    """Open a loader, load photos that no backbone needs, and close it."""
    async with loader:
        return (await loader.load(refs, {})).by_ref if refs else {}


class _Watch:
    """How long an ad's photos took: until the last was here, and from then until the last was
    made."""

    def __init__(self) -> None:
        self._started = self._fetched = self._made = time.perf_counter()

    def fetched(self) -> None:
        self._fetched = self._made = time.perf_counter()

    def made(self) -> None:
        self._made = time.perf_counter()

    @property
    def fetch_ms(self) -> float:
        return (self._fetched - self._started) * 1e3

    @property
    def photos_ms(self) -> float:
        return (self._made - self._fetched) * 1e3


class _Lookups:
    """Asks PostgreSQL for what many photos wait to know in one query; while it is out, others
    gather for the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="photo-lookup")
        self._waiting: list[tuple[bytes, tuple[str, ...], asyncio.Future[KnownPhoto | None]]] = []
        self._out = False

    async def known(self, sha256: bytes, backbones: tuple[str, ...]) -> KnownPhoto | None:
        """What is held of a photo; RetryableError where PostgreSQL is away."""
        answer: asyncio.Future[KnownPhoto | None] = self._loop.create_future()
        self._waiting.append((sha256, backbones, answer))
        if not self._out:
            self._out = True
            self._loop.call_soon(self._ask)
        return await answer

    def close(self) -> None:
        self._thread.shutdown()

    def _ask(self) -> None:
        asked, self._waiting = self._waiting[:LOOKUPS_AT_ONCE], self._waiting[LOOKUPS_AT_ONCE:]
        # One set of backbones almost always; a superset of what each asked for does no harm.
        backbones = sorted({name for _, names, _ in asked for name in names})
        shas = list({sha256 for sha256, _, _ in asked})
        found = self._loop.run_in_executor(
            self._thread, read_known_photos, self._database, shas, backbones
        )
        found.add_done_callback(lambda done: self._answer(asked, done))

    def _answer(
        self,
        asked: list[tuple[bytes, tuple[str, ...], "asyncio.Future[KnownPhoto | None]"]],
        done: "asyncio.Future[dict[bytes, KnownPhoto]]",
    ) -> None:
        for sha256, _, answer in asked:
            if answer.done():
                continue  # its ad was given up meanwhile
            error = done.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(done.result().get(sha256))
        self._out = bool(self._waiting)
        if self._out:
            self._loop.call_soon(self._ask)
