"""Where training sets are kept: <store_url>/training/<digest>.jsonl, content-addressed.

Decides layout and verification; what a set means is `ops/training/dataset.py`'s.
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

    def save(self, made: TrainingSet) -> str:
        """Keep a set and return its digest; again is a no-op.

        Raises:
            RetryableError: the store can't be written.
        """
        data = made.to_bytes()
        digest = digest_of(data)
        try:
            self._objects.put(_name(digest), data)
        except OSError as error:
            raise RetryableError(f"The training set can't be written: {error}") from error
        return digest

    def load(self, digest: str) -> TrainingSet:
        """Read a set, its bytes verified before they are used.

        Raises:
            ConfigurationError: there is none of that digest, or it was altered.
            RetryableError: the store can't be read.
        """
        try:
            data = self._objects.read(_name(digest))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"Training set {digest[:12]} is not in the store ({self.url(digest)}): freeze one "
                "by `lalafo train`, or by the asset `training_set`."
            ) from error
        except OSError as error:
            raise RetryableError(f"The training set can't be read: {error}") from error
        if digest_of(data) != digest:
            raise ConfigurationError(
                f"Training set {digest[:12]} is damaged or altered: its SHA-256 is another."
            )
        return TrainingSet.from_bytes(data)

    def url(self, digest: str) -> str:
        """Where it is, or would be."""
        return self._objects.url(_name(digest))


def _name(digest: str) -> str:
    if SHA256_HEX.fullmatch(digest) is None:
        raise ConfigurationError(f"{digest[:80]!r} is no digest (64 hex digits).")
    return f"training/{digest}.jsonl"
