"""Keeps releases in a process's memory: each is loaded once, and before it is needed.

Releases with the same backbone share its weights. A release whose role changes (promotion,
rollback) is not loaded again. An announced release is loaded in the background.
`ops/scoring/ready_release.py` defines a loaded release.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

import structlog

from ops.errors import ConfigurationError, RetryableError
from ops.models.release import FrozenBackbone
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease
from resources.inference.loading import backbone_key, ready
from resources.postgres.database import Database
from resources.processes.repeating import RepeatingThread
from resources.releases.active import read_active_releases, read_announced
from resources.releases.registry import RegisteredRelease
from resources.storage.releases import ReleaseStore

POLL_S = 0.5

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Once(Generic[K, V]):
    """A thread-safe cache: the first caller creates a key's value, others wait for it."""

    def __init__(self) -> None:
        self._values: dict[K, Future[V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K, create: Callable[[], V]) -> V:
        with self._lock:
            value = self._values.get(key)
            is_first = value is None
            if value is None:
                value = self._values[key] = Future()
        if is_first:
            try:
                value.set_result(create())
            except BaseException as error:  # noqa: BLE001 - waiting callers get the error too
                with self._lock:
                    del self._values[key]  # the next caller tries again
                value.set_exception(error)
        return value.result()

    def has(self, key: K) -> bool:
        with self._lock:
            value = self._values.get(key)
            return value is not None and value.done()

    def keep(self, keys: Iterable[K]) -> None:
        kept = set(keys)
        with self._lock:
            self._values = {k: v for k, v in self._values.items() if k in kept or not v.done()}


class LoadedReleases:
    """The releases that one process scores with; safe to use from any thread.

    Args:
        embedder: loads a backbone onto the device; takes seconds for a large one.
    """

    def __init__(
        self,
        database: Database,
        store: ReleaseStore,
        embedder: Callable[[FrozenBackbone], PhotoEmbedder],
    ) -> None:
        self._database = database
        self._store = store
        self._embedder = embedder
        self._releases: _Once[str, ReadyRelease] = _Once()
        self._embedders: _Once[str, PhotoEmbedder] = _Once()

    def active(self) -> tuple[ReadyRelease, ...]:
        """The active releases, the live one first; returns at once if all are loaded.

        Raises:
            ConfigurationError: none is live, or a file of one does not match its digest.
            RetryableError: PostgreSQL or the store is unavailable.
        """
        return tuple(self.load(known) for known in read_active_releases(self._database).all)

    def load(self, known: RegisteredRelease) -> ReadyRelease:
        """Load one release, or return it from memory; raises as `active` does."""
        return self._releases.get(known.digest, lambda: self._load(known.digest))

    def keep(self, known: Sequence[RegisteredRelease]) -> None:
        """Evict every other release, and the backbones that only those use."""
        self._releases.keep(release.digest for release in known)
        self._embedders.keep(release.backbone for release in known)

    def _load(self, digest: str) -> ReadyRelease:
        manifest = self._store.manifest(digest)
        key = backbone_key(manifest)
        if self._embedders.has(key):  # new heads on a loaded backbone: no weights are read
            embedder = self._embedders.get(key, _never)
            return ready(manifest, self._store.heads(manifest), embedder)
        release = self._store.load(digest)
        embedder = self._embedders.get(key, lambda: self._embedder(release.backbone))
        return ready(manifest, release.heads, embedder)


def _never() -> PhotoEmbedder:
    raise AssertionError("the embedder was loaded an instant ago")


class ReleaseWatch(RepeatingThread):
    """Loads announced and active releases in the background; a context manager.

    Args:
        warm: called with the names of all loaded releases whenever they change.
    """

    def __init__(
        self,
        database: Database,
        loaded: LoadedReleases,
        *,
        warm: Callable[[Sequence[str]], None],
        poll_s: float = POLL_S,
    ) -> None:
        self._database = database
        self._loaded = loaded
        self._warm = warm
        self._reported: tuple[str, ...] = ()
        super().__init__("release-watch", every_s=poll_s)

    def step(self) -> bool:
        """Look once; it is never the last."""
        try:
            self._poll()
        except RetryableError as error:
            log.warning("releases.unavailable", error=str(error))
        except ConfigurationError as error:
            # It is not active, so the session goes on; the log entry is for the person who
            # announced it.
            log.error("releases.not_loadable", error=str(error))
        return False

    def _poll(self) -> None:
        releases = list(read_active_releases(self._database).all)
        announced = read_announced(self._database)
        self._loaded.keep([*releases, *([] if announced is None else [announced])])
        if announced is not None:
            releases.append(announced)
        for release in releases:  # those in use are loaded already
            self._loaded.load(release)
        names = tuple(sorted({release.name for release in releases}))
        if names != self._reported:
            self._warm(names)
            self._reported = names
