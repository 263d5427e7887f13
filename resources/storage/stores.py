"""The stores that one URL holds."""

from dataclasses import dataclass
from typing import Self

from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from resources.storage.training_sets import TrainingStore


@dataclass(frozen=True, slots=True)
class Stores:
    """Where photos, releases and training sets are."""

    photos: PhotoStore
    releases: ReleaseStore
    training: TrainingStore

    @classmethod
    def of(cls, url: str) -> Self:
        """All at one URL, as LALAFO_STORE_URL names it."""
        return cls(PhotoStore(url), ReleaseStore(url), TrainingStore(url))
