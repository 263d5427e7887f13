"""Turns a release's files into one that can score, and registers releases.

Owns the key of a release's embeddings, and how a backbone is loaded onto the device.
`resources/inference/cache.py` owns how many releases are kept in memory, and for how long.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from ops.errors import ConfigurationError
from ops.models.engines.engine import Mode
from ops.models.networks.names import name_in_ids
from ops.models.release import AnyHead, FrozenBackbone, Manifest, Release
from ops.scoring.ready_release import PhotoEmbedder, ReadyRelease
from resources.inference.device import choose_device
from resources.inference.engines import prepared_engine
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register
from resources.settings import Settings
from resources.storage.releases import ReleaseStore

if TYPE_CHECKING:
    from ops.models.embed import Embedder

log = structlog.get_logger()


def backbone_key(manifest: Manifest) -> str:
    """The key of a release's embeddings: readable, and different for different weights."""
    return f"{name_in_ids(manifest.backbone)}-{manifest.backbone_digest[:12]}"


def new_embedder(frozen: FrozenBackbone, settings: Settings) -> "Embedder":
    """Load a backbone with the device and mode of the settings, and warm it up.

    The first call for each batch size compiles, for up to a second: no ad should wait for that.

    Raises:
        ConfigurationError: the weights are not the backbone's, or the mode is not available here.
    """
    from ops.models.embed import Embedder

    device = choose_device(settings.device)
    mode: Mode = settings.model_mode
    converted = None
    if device == "cpu" and mode in ("auto", "openvino") and frozen.digest is not None:
        try:
            prepared = prepared_engine(frozen, settings.home)
        except ConfigurationError as error:
            if mode == "openvino":
                raise
            log.error("engine.not_prepared", mode="traced", error=str(error))
            mode = "traced"
        else:
            converted = prepared.converted
            mode = prepared.choice.engine if mode == "auto" else mode
            log.info("engine.chosen", backbone=frozen.name, mode=mode, why=prepared.choice.reason)
    embedder = Embedder(
        frozen,
        device=device,
        threads=settings.torch_threads,
        mode=mode,
        converted=converted,
    )
    embedder.warm_up()
    return embedder


def ready(
    manifest: Manifest, heads: Mapping[str, AnyHead], embedder: PhotoEmbedder
) -> ReadyRelease:
    """A release that can score: its heads with an embedder.

    Raises:
        ConfigurationError: the manifest's dimension is not the embedder's.
    """
    if manifest.dimension != embedder.dimension:
        raise ConfigurationError(
            f"the manifest of {manifest.name} has {manifest.dimension} dimensions, its backbone "
            f"{embedder.dimension}: the release is inconsistent"
        )
    return ReadyRelease(
        name=manifest.name,
        backbone=backbone_key(manifest),
        preprocessing=manifest.preprocessing,
        embedder=embedder,
        heads=heads,
    )


def check_backbone_of(release: Release) -> None:
    """Check that a release's weights are its backbone's: a session would find out too late.

    Imports torch and builds the network without memory for its weights: seconds.

    Raises:
        ConfigurationError: the backbone is unknown, its weights are another network's or not
            finite, or its embeddings have another length than the manifest says.
    """
    from ops.models.backbones import check_weights

    manifest = release.manifest
    dimension = check_weights(manifest.backbone, release.backbone_state).dimension
    if dimension != manifest.dimension:
        raise ConfigurationError(
            f"The manifest of {manifest.name} has {manifest.dimension} dimensions, its backbone "
            f"{dimension}: the release is inconsistent."
        )


def install(database: Database, store: ReleaseStore, release: Release) -> RegisteredRelease:
    """Save a release's files, then register it in PostgreSQL; can be repeated."""
    manifest = store.save(release)
    known = RegisteredRelease(
        name=manifest.name,
        digest=manifest.digest,
        backbone=backbone_key(manifest),
        manifest=json.loads(manifest.to_json()),
    )
    register(database, known)
    return known
