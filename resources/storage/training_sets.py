"""The store of training sets: content-addressed, at <store_url>/training/<digest>.jsonl.

Owns layout and verification; `ops/training/dataset.py` defines the content.
"""

import fsspec

from ops.errors import ConfigurationError, RetryableError
from ops.models.release import SHA256_HEX
from ops.training.dataset import TrainingSet, digest_of
from resources.storage.objects import LocalFolder, Objects, RemoteFolder


class TrainingStore:
    """Frozen training sets by digest, at an fsspec URL or in a local folder."""

    def __init__(self, store_url: str) -> None:
        try:
            filesystem, root = fsspec.core.url_to_fs(store_url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(f"LALAFO_STORE_URL can't be used: {error}") from error
        local = filesystem.protocol[0] == "file"
        self._objects: Objects = (
            LocalFolder(root, fsync=True) if local else RemoteFolder(filesystem, root)
        )

    def save(self, training_set: TrainingSet) -> str:
        """Store a set and return its digest; does nothing if it is stored already.

        Raises:
            RetryableError: the store can't be written.
        """
        data = training_set.to_bytes()
        digest = digest_of(data)
        try:
            self._objects.put(_name(digest), data)
        except OSError as error:
            raise RetryableError(f"The training set can't be written: {error}") from error
        return digest

    def load(self, digest: str) -> TrainingSet:
        """Read a set; its bytes are verified before they are used.

        Raises:
            ConfigurationError: there is no set of that digest, or it was altered.
            RetryableError: the store can't be read.
        """
        try:
            data = self._objects.read(_name(digest))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"Training set {digest[:12]} is not in the store ({self.url(digest)}). Create one "
                "with `lalafo train`, or with the asset `training_set`."
            ) from error
        except OSError as error:
            raise RetryableError(f"The training set can't be read: {error}") from error
        if digest_of(data) != digest:
            raise ConfigurationError(
                f"Training set {digest[:12]} is damaged or altered: its SHA-256 does not match."
            )
        return TrainingSet.from_bytes(data)

    def url(self, digest: str) -> str:
        """The set's URL, whether or not it is stored."""
        return self._objects.url(_name(digest))


def _name(digest: str) -> str:
    if SHA256_HEX.fullmatch(digest) is None:
        raise ConfigurationError(f"{digest[:80]!r} is not a digest (64 hex digits).")
    return f"training/{digest}.jsonl"
