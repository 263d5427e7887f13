"""The asset `model_release`: what scores, and what it was made of.

Each release that is installed is reported as a materialisation, so that lineage names it.
"""

import dagster as dg

from lalafo_assets.columns import table_metadata
from ops.asset_names import MODEL_RELEASE, OWNERS
from ops.release import Manifest
from resources import tables

model_release = dg.AssetSpec(
    key=MODEL_RELEASE,
    group_name="models",
    kinds={"pytorch", "safetensors"},
    owners=OWNERS,
    metadata=table_metadata(tables.releases),
    description=(
        "A frozen release: backbone, heads, preprocessing and taxonomy, named by digest, verified "
        "by SHA-256 whenever it is loaded. `lalafo releases` lists them."
    ),
)


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
