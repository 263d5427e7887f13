"""Loading photos: from a real host, through the decoders, into the store, known from PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from ops.errors import Reason
from ops.models.embed import prepare
from ops.models.preprocessing import Preprocessing
from ops.scoring.ads import LoadedPhoto
from ops.types import Failure, PhotoNote, PhotoRef
from resources.catalogue.rows import insert_photos
from resources.photos.fetch import PhotoFetcher
from resources.photos.loading import PHOTOS_AT_ONCE, PhotoLimits, PhotoLoader, Prepare
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.support import odd_photos as odd
from tests.support.odd_host import OddHost, answer

LARGE = odd.see_through_palette("PNG", 5000, 4000)
GOOD = odd.jpeg(odd.noisy(400, 300))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, fetch_allow_private=True, photo_threads=1)


@pytest.fixture
def store(settings: Settings) -> Iterator[PhotoStore]:
    yield PhotoStore(settings.resolved_store_url, fsync=False)


@asynccontextmanager
async def loading(
    database: Database,
    store: PhotoStore,
    settings: Settings,
    *,
    prepare: Prepare = lambda data, how: pytest.fail("no backbone asks for it"),
    **photos: bytes,
) -> AsyncIterator[tuple[PhotoLoader, dict[str, PhotoRef]]]:
    """A loader, and the references to photos on a host, by name."""
    async with OddHost() as host:
        host.answers = {f"/{name}": answer(data) for name, data in photos.items()}
        loader = PhotoLoader(
            database=database,
            store=store,
            fetcher=lambda: PhotoFetcher.from_settings(settings),
            prepare=prepare,
            limits=PhotoLimits.from_settings(settings),
        )
        async with loader:
            yield loader, {name: PhotoRef(url=host.url(f"/{name}")) for name in photos}


def test_views_that_differ_in_any_pixel_are_prepared_each(
    database: Database, store: PhotoStore, settings: Settings
) -> None:
    """Two backbones of one size, that resize otherwise; and one that only normalises otherwise."""
    views = {
        "plain": Preprocessing(size=64, resize="center"),
        "crop": Preprocessing(size=64, resize="center", crop_pct=0.5),
        "bicubic": Preprocessing(size=64, resize="center", interpolation="bicubic"),
        "normalised": Preprocessing(size=64, resize="center", mean=(0.5, 0.5, 0.5)),
    }

    async def scene() -> LoadedPhoto | Failure:
        async with loading(database, store, settings, prepare=prepare, good=GOOD) as (loader, refs):
            return (await loader.load([refs["good"]], views)).by_ref[refs["good"]]

    photo = asyncio.run(scene())
    assert isinstance(photo, LoadedPhoto)
    assert photo.rendition is not None
    for name, how in views.items():
        assert np.array_equal(photo.images[name], prepare(photo.rendition.data, how)), name
    assert photo.images["normalised"] is photo.images["plain"], "prepared once"


def test_a_good_photo_does_not_wait_behind_large_ones(
    database: Database, store: PhotoStore, settings: Settings
) -> None:
    """More large photos than are fetched at once, and one thread for each lane."""

    async def scene() -> list[str]:
        order: list[str] = []
        async with loading(database, store, settings, large=LARGE, good=GOOD) as (loader, refs):

            async def load(name: str) -> None:
                loaded = await loader.load([refs[name]], {})
                assert isinstance(loaded.by_ref[refs[name]], LoadedPhoto)
                order.append(name)

            large = [asyncio.create_task(load("large")) for _ in range(PHOTOS_AT_ONCE + 4)]
            await load("good")
            for task in large:
                task.cancel()
            await asyncio.gather(*large, return_exceptions=True)
        return order

    order = asyncio.run(scene())
    assert order.index("good") < PHOTOS_AT_ONCE // 4


def test_photos_that_telephones_and_scanners_make_are_loaded(
    database: Database, store: PhotoStore, settings: Settings
) -> None:
    """By URL and as uploads: the rendition is in the store, and its row says what is missing."""
    sources = {
        "heic": odd.heic(),
        "bmp": odd.save(odd.picture(), "BMP"),
        "cut": GOOD[:-2],
        "large": LARGE,
    }
    uploads = {name: PhotoRef(sha256=sha256(data).digest()) for name, data in sources.items()}
    for name, data in sources.items():
        store.put("uploads", sha256(data).digest(), data)
        assert uploads[name].sha256 is not None

    async def scene() -> None:
        async with loading(database, store, settings, **sources) as (loader, refs):
            for by_name in (refs, uploads):
                photos = await loader.load(list(by_name.values()), {})
                new = list(photos.renditions.values())
                stored = [store.exists("renditions", it.sha256) for it in new]
                assert stored == [by_name is uploads] * len(photos.by_ref)
                await loader.store_renditions(new)
                loaded = photos.by_ref
                for name, ref in by_name.items():
                    photo = loaded[ref]
                    assert isinstance(photo, LoadedPhoto) and photo.rendition is not None
                    assert store.get("renditions", photo.rendition.sha256) == photo.rendition.data
                    note = PhotoNote.PHOTO_INCOMPLETE if name == "cut" else None
                    assert photo.rendition.note is note
                    with database.cursor() as cursor:
                        insert_photos(cursor, [photo.rendition], "run")
                with database.cursor() as cursor:
                    cursor.execute("DELETE FROM lalafo.photos RETURNING source_format, note")
                    assert sorted(cursor.fetchall(), key=str) == [
                        *(("bmp", None), ("heic", None)),
                        *(("jpeg", "photo_incomplete"), ("png", None)),
                    ]

    asyncio.run(scene())


def test_a_photo_that_needs_more_than_the_budget_fails_with_its_reason(
    database: Database, store: PhotoStore, settings: Settings
) -> None:
    """Before it is decoded; its neighbours are loaded."""
    small_budget = settings.model_copy(update={"photo_memory_bytes": 50_000_000})

    async def scene() -> None:
        async with loading(database, store, small_budget, large=LARGE, good=GOOD) as found:
            loader, refs = found
            loaded = (await loader.load(list(refs.values()), {})).by_ref
            failure = loaded[refs["large"]]
            assert isinstance(failure, Failure) and failure.reason is Reason.PHOTO_TOO_LARGE
            assert "MB" in failure.detail
            assert isinstance(loaded[refs["good"]], LoadedPhoto)

    asyncio.run(scene())


def test_a_lost_rendition_is_made_again(
    database: Database, store: PhotoStore, settings: Settings
) -> None:
    """A photo that has a row is neither encoded nor stored again, unless its object is lost."""

    async def scene() -> None:
        async with loading(database, store, settings, good=GOOD) as (loader, refs):
            first = (await loader.load([refs["good"]], {})).by_ref[refs["good"]]
            assert isinstance(first, LoadedPhoto) and first.rendition is not None
            with database.cursor() as cursor:
                insert_photos(cursor, [replace(first.rendition, sha256=bytes(32))], "run")
            known = (await loader.load([refs["good"]], {})).by_ref[refs["good"]]
            assert isinstance(known, LoadedPhoto) and known.rendition is None

    asyncio.run(scene())
