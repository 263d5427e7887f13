"""What a release has learned its categories from: photos that this program drew, or real ones.

Owns the fact in a manifest's metrics. The demo and the tests draw photos; a release that has
learned from nothing else answers well for drawn photos only, which readers should know.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ops.models.release import Manifest

STARTER_SOURCE = "starter, trained from nothing on drawn photos"
"""The `weights_source` of the release that ships with the package."""

DRAWN_CATALOG = "demo-drawn-"
"""How the catalogs of ads with drawn photos begin."""


def training_photos(
    *, drawn: int, real: int, continues: Manifest | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return the fact for a manifest's metrics.

    Args:
        drawn: how many drawn photos the release was trained on; not those held out.
        real: the same for other photos.
        continues: the release whose backbone or heads it has taken over.
    """
    before = continues is None or learned_from_drawn_photos(continues)
    return {"training_photos": {"drawn": drawn, "real": real, "only_drawn": real == 0 and before}}


def learned_from_drawn_photos(manifest: Manifest) -> bool:
    """Whether a release has learned its categories from drawn photos only.

    A manifest of an earlier version does not say it: there the starter's own heads are known.
    """
    fact = manifest.metrics.get("training_photos")
    if fact is not None:
        return bool(fact["only_drawn"])
    return manifest.weights_source == STARTER_SOURCE and "training_set" not in manifest.metrics


def count_by_origin(photos: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    """Count distinct photos, given as catalog and SHA-256, as `drawn` and `real`."""
    origins = {sha256: catalog.startswith(DRAWN_CATALOG) for catalog, sha256 in photos}
    drawn = sum(origins.values())
    return {"drawn": drawn, "real": len(origins) - drawn}
