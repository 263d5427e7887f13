"""The batch lane's stages over whole days: what is stale of them, through the model, into rows.

Decides which rows are read and written for a release; the work itself is `ops/rescore.py`'s and
`ops/ready_release.py`'s. Knows neither Dagster nor why the days were chosen.
"""

import os
from collections.abc import Callable, Sequence
from datetime import date
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ops.ready_release import PhotoEmbedder, ReadyRelease, predict_ads
from ops.rescore import EmbedReport, embed_photos
from ops.tasks import Task
from resources.catalogue import Catalogue, ScoredAd, StoredPhoto
from resources.photo_store import PhotoStore

PHOTO_CHUNK = 512
AD_CHUNK = 5_000


def embed_days(
    catalogue: Catalogue,
    release: ReadyRelease,
    embedders: Sequence[PhotoEmbedder],
    store: PhotoStore,
    covered: Sequence[date],
    *,
    told: Callable[[str], object],
) -> EmbedReport:
    """Embed the days' photos that have no vector under the release's backbone."""
    from ops.embed import prepare

    def load(photo: StoredPhoto) -> NDArray[np.uint8]:
        return prepare(store.get("renditions", photo.rendition_sha256), release.preprocessing)

    stale = catalogue.photos_to_embed(covered, release.backbone, chunk=PHOTO_CHUNK)
    return embed_photos(
        chain.from_iterable(stale),
        release,
        embedders=embedders,
        load=load,
        write=catalogue.write_embeddings,
        progress=lambda report: told(f"{report.embedded} of {report.photos} photos so far"),
        threads=len(os.sched_getaffinity(0)),
    )


def score_days(
    catalogue: Catalogue,
    release: ReadyRelease,
    task: Task,
    covered: Sequence[date],
    *,
    told: Callable[[str], object],
) -> int:
    """Score the days' stale ads in one task; how many predictions were written."""
    written = 0
    stale = catalogue.ads_to_score(
        covered, release.name, task.name, release.backbone, chunk=AD_CHUNK
    )
    for chunk in stale:
        made = predict_ads(release, [task], [ad.vectors for ad in chunk])
        scored = [
            ScoredAd(ad.key, ad.revision, ad.day, items)
            for ad, items in zip(chunk, made, strict=True)
        ]
        written += catalogue.write_predictions(release.name, scored)
        told(f"{written} ads scored so far")
    return written
