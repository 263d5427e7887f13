"""Judges releases by the masks that people have drawn.

No release of the project is trained on them, so all of them are held out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ops.errors import BadInputError, StoredObjectError
from ops.isolation import is_of_item
from ops.masks.arrays import decode_mask
from ops.masks.measures import MaskMeasures
from ops.masks.rle import EncodedMask
from ops.models.preprocessing import Upright
from ops.models.release import AnyHead
from ops.tasks import Photo, Task
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

MOST = 2_000
"""Photos that a release is judged on: the latest masks."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LabelledMask:
    """A mask by a person, and the rendition of its photo."""

    rendition_sha256: bytes
    source: tuple[int, int]  # width and height of the seller's file
    mask: EncodedMask


def read_mask_labels(database: Database, limit: int = MOST) -> list[LabelledMask]:
    """The latest masks that people have drawn, in the order of their photos' SHA-256."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT rendition_sha256, source_width, source_height, height, width, counts FROM ("
            "SELECT p.rendition_sha256, p.source_width, p.source_height, m.height, m.width, "
            "m.counts, m.sha256 FROM lalafo.mask_labels AS m JOIN lalafo.photos AS p USING (sha256)"
            " ORDER BY m.given_at DESC, m.sha256 LIMIT %s) AS latest ORDER BY sha256",
            (limit,),
        )
        rows = cursor.fetchall()
    return [
        LabelledMask(bytes(row[0]), (row[1], row[2]), EncodedMask(row[3], row[4], row[5]))
        for row in rows
    ]


def mask_measures(
    task: Task, head: AnyHead, labels: Sequence[LabelledMask], store: PhotoStore
) -> Mapping[str, Any]:
    """`count`, `f`, `mae` and `iou` of a head's masks; a photo that it fails for has none.

    Photos that are missing from the store are left out.
    """
    predict, mask_of = task.predict_photos, task.mask_of
    assert predict is not None
    assert mask_of is not None
    measures = MaskMeasures()
    for photo, truth in _photos(labels, store):
        inside = decode_mask(truth)
        found = inside & False
        try:
            (answer,) = predict([photo], head)
            found = decode_mask(mask_of(answer))
        except BaseException as error:
            if not is_of_item(error):
                raise
            log.warning("gate.mask_failed", task=task.name, error=str(error))
        if found.shape != inside.shape:
            found = inside & False
        measures.add(found.astype("float32"), inside)
    if measures.photos == 0:
        return {"count": 0, "of": "photos"}
    figures = measures.figures()
    return {
        "count": measures.photos,
        "of": "photos",
        **{k: figures[k] for k in ("f", "mae", "iou")},
    }


def _photos(
    labels: Sequence[LabelledMask], store: PhotoStore
) -> Iterator[tuple[Photo, EncodedMask]]:
    from ops.models.embed import prepare

    for label in labels:
        try:
            pixels = prepare(store.get("renditions", label.rendition_sha256), Upright())
        except (StoredObjectError, BadInputError) as error:
            log.warning("gate.photo_left_out", error=str(error))
            continue
        width, height = label.source
        yield Photo(rendition=pixels, source_width=width, source_height=height), label.mask
