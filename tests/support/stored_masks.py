"""The answer of the task `segments` for a photo, as a session writes it."""

from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from ops.masks.arrays import encode_mask

SCORE = 0.93

_WRITE = """
    INSERT INTO lalafo.photo_predictions (release, sha256, task, label, score, details, run_id)
    SELECT coalesce(%s, live), %s, 'segments', %s, %s, %s, 'r' FROM lalafo.active_releases
    ON CONFLICT (sha256, release, task) DO UPDATE SET label = EXCLUDED.label,
        details = EXCLUDED.details"""


def write_mask(
    connection: psycopg.Connection[Any],
    sha256: bytes,
    mask: NDArray[np.bool_],
    *,
    release: str | None = None,
) -> float:
    """Write the mask of a photo as one thing, or none; return the share of the photo in it.

    Args:
        mask: (H, W) bool.
        release: the one that answered; None: the live one.
    """
    found = encode_mask(mask)
    thing = {"label": "goods", "score": SCORE, "box": found.box, "area": found.area}
    things = [] if found.box is None else [thing]
    area = round(found.area / found.pixels, 4)
    details = {"area": area, **found.as_coco(), "things": things}
    label = "goods" if things else "nothing"
    connection.execute(_WRITE, (release, sha256, label, SCORE, Jsonb(details)))
    return area
