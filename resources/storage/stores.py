"""The stores below one URL: photos, releases and training sets."""

from dataclasses import dataclass
from typing import Self

from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from resources.storage.training_sets import TrainingStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of photos, releases and training sets."""

    photos: PhotoStore
    releases: ReleaseStore
    training: TrainingStore

    @classmethod
    def of(cls, url: str) -> Self:
        """All stores at one URL, such as LALAFO_STORE_URL."""
        return cls(PhotoStore(url), ReleaseStore(url), TrainingStore(url))
