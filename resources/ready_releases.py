"""The releases in force, loaded and ready to score.

Decides that releases which share a backbone share its weights in memory too.
"""

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ops.errors import ConfigurationError
from ops.ready_release import PhotoEmbedder, ReadyRelease
from ops.release import FrozenBackbone, Release
from resources.database import Database
from resources.device import choose_device
from resources.release_registry import RegisteredRelease, register
from resources.release_store import ReleaseStore
from resources.releases_in_force import read_in_force
from resources.settings import Settings

if TYPE_CHECKING:
    from ops.embed import Embedder


def backbone_key(release: Release) -> str:
    """The key of a release's embeddings: readable, and another one for other weights."""
    manifest = release.manifest
    return f"{manifest.backbone}-{manifest.backbone_digest[:12]}"


def new_embedder(frozen: FrozenBackbone, settings: Settings) -> "Embedder":
    """A backbone on the device and in the mode that the settings name, warmed up.

    Its first calls at each batch size compile, for up to a second each: no ad shall wait for that.
    """
    from ops.embed import Embedder

    embedder = Embedder(
        frozen,
        device=choose_device(settings.device),
        threads=settings.torch_threads,
        mode=settings.model_mode,
    )
    embedder.warm_up()
    return embedder


def make_ready(release: Release, embedder: PhotoEmbedder) -> ReadyRelease:
    """A release with its embedder.

    Raises:
        ConfigurationError: the manifest's dimension is not the backbone's.
    """
    if release.manifest.dimension != embedder.dimension:
        raise ConfigurationError(
            f"{release.manifest.name} says {release.manifest.dimension} dimensions, its backbone "
            f"has {embedder.dimension}: the release is not what it says"
        )
    return ReadyRelease(
        name=release.manifest.name,
        backbone=backbone_key(release),
        preprocessing=release.manifest.preprocessing,
        embedder=embedder,
        heads=release.heads,
    )


def load_in_force(
    database: Database, store: ReleaseStore, embedder: Callable[[FrozenBackbone], PhotoEmbedder]
) -> tuple[ReadyRelease, ...]:
    """The releases in force, the live one first.

    Raises:
        ConfigurationError: none is live, or a file of one is not what its digest says.
    """
    ready: list[ReadyRelease] = []
    embedders: dict[str, PhotoEmbedder] = {}
    for known in read_in_force(database).all:
        release = store.load(known.digest)
        key = backbone_key(release)
        if key not in embedders:
            embedders[key] = embedder(release.backbone)
        ready.append(make_ready(release, embedders[key]))
    return tuple(ready)


def load_for_batch(
    database: Database, store: ReleaseStore, settings: Settings
) -> tuple[ReadyRelease, list["Embedder"]]:
    """The live release, and as many embedders as work best side by side.

    On a CPU one a core, each with one thread: threads of one network wait for each other. On a
    GPU one.
    """
    one_thread = settings.model_copy(update={"torch_threads": 1})
    release = store.load(read_in_force(database).live.digest)
    count = 1 if choose_device(settings.device) == "cuda" else len(os.sched_getaffinity(0))
    embedders = [new_embedder(release.backbone, one_thread) for _ in range(count)]
    return make_ready(release, embedders[0]), embedders


def install(database: Database, store: ReleaseStore, release: Release) -> RegisteredRelease:
    """Save a release's files, then make it known to PostgreSQL; again is a no-op."""
    manifest = store.save(release)
    known = RegisteredRelease(
        name=manifest.name,
        digest=manifest.digest,
        backbone=backbone_key(release),
        manifest=json.loads(manifest.to_json()),
    )
    register(database, known)
    return known
