"""Compares the masks of two releases, photo by photo.

Owns the choice of photos: of those that both releases have answered, the first by SHA-256, which is
a random sample and the same at each call.
"""

from dataclasses import dataclass

import numpy as np

from ops.masks.arrays import decode_mask, intersection_over_union
from ops.masks.rle import EncodedMask
from ops.tasks import Task
from ops.tasks.contract.answer import answer_of
from ops.types import Prediction
from resources.postgres.database import Database

PHOTOS = 1_000


@dataclass(frozen=True, slots=True)
class MaskPair:
    """A photo's masks under both releases, and their intersection over union."""

    rendition_sha256: bytes
    live: EncodedMask
    candidate: EncodedMask
    iou: float


@dataclass(frozen=True, slots=True)
class MaskDiff:
    """The masks of a sample of photos, the least alike first."""

    pairs: tuple[MaskPair, ...]

    @property
    def mean_iou(self) -> float | None:
        """The mean intersection over union; None: no photo has masks of both."""
        return float(np.mean([pair.iou for pair in self.pairs])) if self.pairs else None

    @property
    def p10_iou(self) -> float | None:
        """A tenth of the photos are less alike than this."""
        return float(np.quantile([pair.iou for pair in self.pairs], 0.1)) if self.pairs else None


def compare_masks(
    database: Database, *, live: str, candidate: str, task: Task, photos: int = PHOTOS
) -> MaskDiff:
    """Compare a task's masks of up to so many photos."""
    mask_of, model = task.mask_of, task.photo_answer
    assert mask_of is not None
    assert model is not None
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.rendition_sha256, l.label, l.score::float8, l.details, c.label, "
            "c.score::float8, c.details FROM lalafo.photo_predictions AS l "
            "JOIN lalafo.photo_predictions AS c ON c.sha256 = l.sha256 AND c.task = l.task "
            "AND c.release = %(new)s JOIN lalafo.photos AS p ON p.sha256 = l.sha256 "
            "WHERE l.release = %(old)s AND l.task = %(task)s ORDER BY l.sha256 LIMIT %(photos)s",
            {"old": live, "new": candidate, "task": task.name, "photos": photos},
        )
        rows = cursor.fetchall()
    pairs = []
    for rendition, *values in rows:
        before, after = (
            mask_of(answer_of(model, Prediction(task.name, *part)))
            for part in (values[:3], values[3:])
        )
        pairs.append(MaskPair(bytes(rendition), before, after, _alike(before, after)))
    return MaskDiff(tuple(sorted(pairs, key=lambda pair: pair.iou)))


def _alike(one: EncodedMask, other: EncodedMask) -> float:
    """0 where the masks have different sizes."""
    if (one.height, one.width) != (other.height, other.width):
        return 0.0
    return intersection_over_union(decode_mask(one), decode_mask(other))
