"""A release as Dagster shows it, wherever it was made.

`model_release` is made by `training.py`; each release that is installed from elsewhere is reported
as a materialisation of it, so that lineage names it.
"""

import dagster as dg

from ops.models.release import Manifest
from resources.dagster.names import MODEL_RELEASE


def materialisation(manifest: Manifest, *, live: bool) -> dg.AssetMaterialization:
    """A release as Dagster shows it."""
    return dg.AssetMaterialization(
        MODEL_RELEASE,
        metadata={
            "name": manifest.name,
            "digest": manifest.digest,
            "live": live,
            "backbone": manifest.backbone,
            "weights": manifest.weights_source,
            "dimension": manifest.dimension,
            "labels": dg.MetadataValue.json(
                {task: list(labels) for task, labels in manifest.taxonomy.items()}
            ),
            "metrics": dg.MetadataValue.json(dict(manifest.metrics)),
        },
    )
