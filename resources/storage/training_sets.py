"""The store of training sets: content-addressed, at <store_url>/training/<digest>.jsonl.

Owns layout and verification; `ops/training/dataset.py` defines the content.
"""

from ops.errors import ConfigurationError
from ops.models.release import SHA256_HEX
from ops.training.dataset import TrainingSet, digest_of
from resources.storage.filesystems import shown, store_errors
from resources.storage.remote import open_objects


class TrainingStore:
    """Frozen training sets by digest, at an fsspec URL or in a local folder."""

    def __init__(self, store_url: str) -> None:
        self._objects = open_objects(store_url)

    def save(self, training_set: TrainingSet) -> str:
        """Store a set and return its digest; does nothing if it is stored already.

        Raises:
            RetryableError: the store is unavailable or full.
            ConfigurationError: access to the store was denied, or its bucket is missing.
        """
        data = training_set.to_bytes()
        digest = digest_of(data)
        with store_errors(self.url(digest)):
            self._objects.put(_name(digest), data)
        return digest

    def load(self, digest: str) -> TrainingSet:
        """Read a set; its bytes are verified before they are used.

        Raises:
            ConfigurationError: there is no set of that digest, it was altered, or access to the
                store was denied.
            RetryableError: the store is unavailable.
        """
        try:
            with store_errors(self.url(digest)):
                data = self._objects.read(_name(digest))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"Training set {digest[:12]} is not in the store ({shown(self.url(digest))}). "
                "Create one with `lalafo train`, or with the asset `training_set`."
            ) from error
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
