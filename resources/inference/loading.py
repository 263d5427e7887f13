"""From a release's files to one that scores: its backbone on the device, its heads, its row.

Decides the key of its embeddings, and how a backbone is made ready. How many are kept in memory,
and for how long, is `loaded_releases.py`'s.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ops.errors import ConfigurationError
from ops.models.release import FrozenBackbone, Head, Manifest, Release
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease
from resources.inference.device import choose_device
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register
from resources.settings import Settings
from resources.storage.releases import ReleaseStore

if TYPE_CHECKING:
    from ops.models.embed import Embedder


def backbone_key(manifest: Manifest) -> str:
    """The key of a release's embeddings: readable, and another one for other weights."""
    return f"{manifest.backbone}-{manifest.backbone_digest[:12]}"


def new_embedder(frozen: FrozenBackbone, settings: Settings) -> "Embedder":
    """A backbone on the device and in the mode that the settings name, warmed up.

    Its first calls at each batch size compile, for up to a second each: no ad shall wait for that.
    """
    from ops.models.embed import Embedder

    embedder = Embedder(
        frozen,
        device=choose_device(settings.device),
        threads=settings.torch_threads,
        mode=settings.model_mode,
    )
    embedder.warm_up()
    return embedder


def ready(manifest: Manifest, heads: Mapping[str, Head], embedder: PhotoEmbedder) -> ReadyRelease:
    """A release with its embedder.

    Raises:
        ConfigurationError: the manifest's dimension is not the backbone's.
    """
    if manifest.dimension != embedder.dimension:
        raise ConfigurationError(
            f"{manifest.name} says {manifest.dimension} dimensions, its backbone "
            f"has {embedder.dimension}: the release is not what it says"
        )
    return ReadyRelease(
        name=manifest.name,
        backbone=backbone_key(manifest),
        preprocessing=manifest.preprocessing,
        embedder=embedder,
        heads=heads,
    )


def install(database: Database, store: ReleaseStore, release: Release) -> RegisteredRelease:
    """Save a release's files, then make it known to PostgreSQL; again is a no-op."""
    manifest = store.save(release)
    known = RegisteredRelease(
        name=manifest.name,
        digest=manifest.digest,
        backbone=backbone_key(manifest),
        manifest=json.loads(manifest.to_json()),
    )
    register(database, known)
    return known
