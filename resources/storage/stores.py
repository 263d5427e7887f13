"""The stores below one URL: photos, releases and training sets."""

import secrets
from dataclasses import dataclass
from typing import Self

from ops.errors import RetryableError
from resources.storage.filesystems import SETTING, missing_bucket, shown, store_errors
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from resources.storage.remote import open_objects
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


def try_store(store_url: str) -> None:
    """Write, read and delete a small object below the URL.

    Raises:
        ConfigurationError: the URL can't be used, the bucket is missing, or access is denied.
        RetryableError: the store is unavailable or full.
    """
    objects = open_objects(store_url)
    data = secrets.token_bytes(16)
    name = f"tried-{data.hex()}"  # not in a folder: an empty one would be left
    try:
        with store_errors(objects.url(name)):
            objects.put(name, data)
            found = objects.read(name)
            objects.delete(name, 0.0)
    except FileNotFoundError as error:
        raise missing_bucket(store_url) from error
    if found != data:
        raise RetryableError(f"{SETTING}: {shown(store_url)} returned other bytes than were put")
