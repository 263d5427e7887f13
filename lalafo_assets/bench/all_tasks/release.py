"""A release with every installed task, for benches that measure what the tasks cost.

Prices are fitted to generated ads, so that they cost what they cost in production and mean nothing.
"""

from lalafo_assets.bench.all_tasks.priced_ads import generated_ads
from ops.errors import ConfigurationError
from ops.models.release import Release
from ops.models.release_files import assemble
from ops.tasks.price import NAME, fit_ads
from ops.training.make_release import unlearned_heads
from resources.training.extend import extended

PRICED_ADS = 600


def with_task(release: Release, name: str) -> Release:
    """The release with one of the tasks that learn nothing.

    Raises:
        ConfigurationError: no such task is installed.
    """
    heads = unlearned_heads()
    if name not in heads:
        raise ConfigurationError(
            f"No installed task {name!r} learns nothing. Such are: {', '.join(sorted(heads))}."
        )
    manifest = release.manifest
    return assemble(
        backbone=manifest.backbone,
        weights_source=manifest.weights_source,
        preprocessing=manifest.preprocessing,
        backbone_state=release.backbone_state,
        heads={**release.heads, name: heads[name]},
        metrics=manifest.metrics,
        dimension=manifest.dimension,
    )


def with_all_tasks(release: Release) -> Release:
    """The release with the tasks that learn nothing, and prices in KGS and USD."""
    made = extended(release)
    manifest = made.manifest
    ads = generated_ads(PRICED_ADS, seed=0, dimension=manifest.dimension)
    head, _ = fit_ads(ads, groups=[str(number) for number in range(len(ads))])
    return assemble(
        backbone=manifest.backbone,
        weights_source=manifest.weights_source,
        preprocessing=manifest.preprocessing,
        backbone_state=made.backbone_state,
        heads={**made.heads, NAME: head},
        metrics=manifest.metrics,
        dimension=manifest.dimension,
    )
