"""A model release as a materialization of the asset `model_release`.

A run of `assets/training.py` materializes the asset itself. A release that is installed from
elsewhere is reported as a materialization too, so that the lineage includes it.
"""

import dagster as dg

from ops.models.release import Manifest
from resources.dagster.names import MODEL_RELEASE


def materialization(manifest: Manifest, *, live: bool) -> dg.AssetMaterialization:
    """Return the materialization event of a release."""
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
