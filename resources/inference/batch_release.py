"""Finds and loads the release that a batch run scores for, as far as its stage needs it.

Predictions need no backbone: a re-score with new heads alone loads no network, and no torch.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from ops.scoring.ready_release import Image, ReadyRelease
from resources.inference.device import choose_device
from resources.inference.loading import new_embedder, ready
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import RegisteredRelease, find_release
from resources.settings import Settings
from resources.storage.releases import ReleaseStore

if TYPE_CHECKING:
    from ops.models.embed import Embedder


def release_of_run(database: Database, tags: Mapping[str, str], tag: str) -> RegisteredRelease:
    """The release in a run's tag; the live release if the run has no such tag.

    Raises:
        ConfigurationError: no release of that name is registered, or none is live.
    """
    name = tags.get(tag)
    return read_active_releases(database).live if name is None else find_release(database, name)


def load_heads(known: RegisteredRelease, store: ReleaseStore) -> ReadyRelease:
    """Load a release without its backbone, to predict from stored embeddings."""
    manifest = store.manifest(known.digest)
    return ready(manifest, store.heads(manifest), _NoBackbone(manifest.dimension))


def load_to_embed(
    known: RegisteredRelease, store: ReleaseStore, settings: Settings
) -> tuple[ReadyRelease, list["Embedder"]]:
    """Load a release, and as many embedders as work best concurrently.

    On a CPU this is one per core, each with one thread, since threads of one network wait for each
    other. On a GPU it is one.
    """
    one_thread = settings.model_copy(update={"torch_threads": 1})
    release = store.load(known.digest)
    count = 1 if choose_device(settings.device) == "cuda" else len(os.sched_getaffinity(0))
    embedders = [new_embedder(release.backbone, one_thread) for _ in range(count)]
    return ready(release.manifest, release.heads, embedders[0]), embedders


class _NoBackbone:
    """The embedder of a release that was loaded without its backbone."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def embed(self, images: Sequence[Image]) -> NoReturn:
        raise NotImplementedError(
            f"can't embed {len(images)} photos: this release was loaded without its backbone"
        )
