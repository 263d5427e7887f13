"""Releases in a process's memory: each loaded once, and before anybody waits for it.

Decides that releases which share a backbone share its weights too, that a release which only
moves (promoted, taken back) is never loaded again, and that one which is announced is loaded
beside the work. What a release is, `ready_releases.py` knows.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog

from ops.errors import ConfigurationError, RetryableError
from ops.models.release import FrozenBackbone
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease
from resources.inference.loading import backbone_key, ready
from resources.postgres.database import Database
from resources.releases.active import read_active_releases, read_announced
from resources.releases.registry import RegisteredRelease
from resources.storage.releases import ReleaseStore

LOOK_S = 0.5

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Once(Generic[K, V]):
    """Values by key, each made by the first who asks; others who ask meanwhile wait for it."""

    def __init__(self) -> None:
        self._made: dict[K, Future[V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        with self._lock:
            found = self._made.get(key)
            mine = found is None
            if found is None:
                found = self._made[key] = Future()
        if mine:
            try:
                found.set_result(make())
            except BaseException as error:  # noqa: BLE001 - whoever waits is told too
                with self._lock:
                    del self._made[key]  # the next who asks tries again
                found.set_exception(error)
        return found.result()

    def has(self, key: K) -> bool:
        with self._lock:
            found = self._made.get(key)
            return found is not None and found.done()

    def keep(self, keys: Iterable[K]) -> None:
        kept = set(keys)
        with self._lock:
            self._made = {k: v for k, v in self._made.items() if k in kept or not v.done()}


class LoadedReleases:
    """The releases that one process scores with; safe to use from any thread.

    Args:
        embedder: makes a backbone ready to work: seconds, for a large one.
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
        """The releases in force, the live one first; at once where all were loaded before.

        Raises:
            ConfigurationError: none is live, or a file of one is not what its digest says.
            RetryableError: PostgreSQL or the store is away.
        """
        return tuple(self.load(known) for known in read_active_releases(self._database).all)

    def load(self, known: RegisteredRelease) -> ReadyRelease:
        """One release; raises as `active` does."""
        return self._releases.get(known.digest, lambda: self._make(known.digest))

    def keep(self, known: Sequence[RegisteredRelease]) -> None:
        """Forget every other release, and the backbones that only those had."""
        self._releases.keep(release.digest for release in known)
        self._embedders.keep(release.backbone for release in known)

    def _make(self, digest: str) -> ReadyRelease:
        manifest = self._store.manifest(digest)
        key = backbone_key(manifest)
        if self._embedders.has(key):  # a new head on what is at work already: no weights are read
            embedder = self._embedders.get(key, _never)
            return ready(manifest, self._store.heads(manifest), embedder)
        release = self._store.load(digest)
        embedder = self._embedders.get(key, lambda: self._embedder(release.backbone))
        return ready(manifest, release.heads, embedder)


def _never() -> PhotoEmbedder:
    raise AssertionError("it was there an instant ago")


class ReleaseWatch:
    """Loads what is announced or has come in force, beside the work; a context manager.

    Args:
        warm: told the names of all that are loaded, whenever they change.
    """

    def __init__(
        self,
        database: Database,
        loaded: LoadedReleases,
        *,
        warm: Callable[[Sequence[str]], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._database = database
        self._loaded = loaded
        self._warm = warm
        self._look_s = look_s
        self._reported: tuple[str, ...] = ()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="release-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._look_s):
            try:
                self._look()
            except RetryableError as error:
                log.warning("releases.unavailable", error=str(error))
            except ConfigurationError as error:
                # It is not in force: the session goes on, and whoever announced it looks here.
                log.error("releases.not_loadable", error=str(error))

    def _look(self) -> None:
        wanted = list(read_active_releases(self._database).all)
        announced = read_announced(self._database)
        self._loaded.keep([*wanted, *([] if announced is None else [announced])])
        if announced is not None:
            wanted.append(announced)
        for release in wanted:  # those at work are there already
            self._loaded.load(release)
        names = tuple(sorted({release.name for release in wanted}))
        if names != self._reported:
            self._warm(names)
            self._reported = names
