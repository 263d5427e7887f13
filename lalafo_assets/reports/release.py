"""A model release as a materialisation of the asset `model_release`.

A run of `assets/training.py` materialises the asset itself. A release that is installed from
elsewhere is reported as a materialisation too, so that the lineage includes it.
"""

import dagster as dg

from ops.models.release import Manifest
from resources.dagster.names import MODEL_RELEASE


def materialisation(manifest: Manifest, *, live: bool) -> dg.AssetMaterialization:
    """Return the materialisation event of a release."""
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
