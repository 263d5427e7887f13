"""Dagster resources: thin wrappers around PostgreSQL, Kafka, photos and models.

Each field overrides one setting of the environment; an empty field leaves the setting unchanged.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from ops.models.release import FrozenBackbone
from resources.kafka.topics import AdStream
from resources.photos.fetch import PhotoFetcher
from resources.postgres.database import Database
from resources.settings import Settings, changed_settings, load_settings
from resources.storage.photos import PhotoStore

if TYPE_CHECKING:
    from ops.models.embed import Embedder
    from resources.storage.releases import ReleaseStore
    from resources.storage.stores import Stores


class DatabaseResource(dg.ConfigurableResource[Database]):
    """PostgreSQL with pgvector: ads, photos, embeddings, predictions, offsets and leases."""

    url: str | None = Field(default=None, description="Overrides LALAFO_DATABASE_URL.")

    def open(self) -> Database:
        """Open the database; the caller closes it."""
        if self.url is not None:
            return Database(self.url, application="lalafo-dagster")
        return Database.from_settings(load_settings(), application="lalafo-dagster")


class AdStreamResource(dg.ConfigurableResource[AdStream]):
    """Kafka: the topics `ads` and `ads.dlq`."""

    bootstrap: str | None = Field(default=None, description="Overrides LALAFO_KAFKA_BOOTSTRAP.")

    def open(self) -> AdStream:
        """Open the topics; the caller closes them."""
        changes = {} if self.bootstrap is None else {"kafka_bootstrap": self.bootstrap}
        return AdStream.from_settings(changed_settings(changes))


class PhotosResource(dg.ConfigurableResource[PhotoStore]):
    """Photos: the store of renditions, and the fetcher of source photos."""

    store_url: str | None = Field(default=None, description="Overrides LALAFO_STORE_URL.")

    def store(self) -> PhotoStore:
        """The store of renditions and thumbnails."""
        return PhotoStore(self.url())

    def fetcher(self) -> PhotoFetcher:
        """A fetcher with the limits of the settings."""
        return PhotoFetcher.from_settings(load_settings())

    def url(self) -> str:
        """The folder or fsspec URL of the store."""
        return load_settings().resolved_store_url if self.store_url is None else self.store_url


class ModelsResource(dg.ConfigurableResource["ModelsResource"]):
    """Model releases, and the device that they run on."""

    store_url: str | None = Field(default=None, description="Overrides LALAFO_STORE_URL.")
    device: str | None = Field(default=None, description="Overrides LALAFO_DEVICE.")
    mode: str | None = Field(default=None, description="Overrides LALAFO_MODEL_MODE.")

    def store(self) -> "ReleaseStore":
        """The store of releases."""
        from resources.storage.releases import ReleaseStore

        url = self.store_url
        return ReleaseStore(load_settings().resolved_store_url if url is None else url)

    def stores(self) -> "Stores":
        """The stores of releases, training sets and photos."""
        from resources.storage.stores import Stores

        url = self.store_url
        return Stores.of(load_settings().resolved_store_url if url is None else url)

    def embedder(self) -> "Callable[[FrozenBackbone], Embedder]":
        """A function that loads a backbone; torch is imported when it is called."""
        from resources.inference.loading import new_embedder

        settings = self.settings()
        return lambda frozen: new_embedder(frozen, settings)

    def settings(self) -> Settings:
        """The settings, with this resource's overrides."""
        overrides = {"device": self.device, "model_mode": self.mode}
        changes = {name: value for name, value in overrides.items() if value is not None}
        return changed_settings(changes)


RESOURCES: dict[str, object] = {
    "database": DatabaseResource(),
    "ad_stream": AdStreamResource(),
    "photos": PhotosResource(),
    "models": ModelsResource(),
}
"""The resources by the keys that ops and assets use."""
