"""The worker that embeds the photos that searches name, as an indexer's run has it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ops.models.embed import prepare
from resources.inference.cache import LoadedReleases
from resources.inference.loading import new_embedder
from resources.photo_searches import PhotoModels, PhotoSearches
from resources.photos.fetch import PhotoFetcher
from resources.photos.loading import PhotoLimits, PhotoLoader
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore


@contextmanager
def photo_search_worker(database: Database, settings: Settings) -> Iterator[None]:
    """Answer requests for as long as the block lasts."""

    def models() -> PhotoModels:
        loader = PhotoLoader(
            database=database,
            store=PhotoStore(settings.resolved_store_url, fsync=False),
            fetcher=lambda: PhotoFetcher.from_settings(settings),
            prepare=prepare,
            limits=PhotoLimits.from_settings(settings),
        )
        releases = ReleaseStore(settings.resolved_store_url)
        embedder = LoadedReleases(database, releases, lambda of: new_embedder(of, settings))
        return PhotoModels(loader, embedder)

    with PhotoSearches(database, models):
        yield
