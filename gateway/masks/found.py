"""Reads the mask of a photo, for callers that may read an ad with the photo."""

from dataclasses import dataclass
from typing import Any

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Caller
from gateway.problems import Problem
from gateway.services import Services
from ops.masks.rle import EncodedMask

TASK = "segments"

_FIND = """
    SELECT p.rendition_sha256, p.height, p.width, r.live, s.label, s.score::float8, s.details
    FROM lalafo.photos AS p
    LEFT JOIN lalafo.active_releases AS r ON true
    LEFT JOIN lalafo.photo_predictions AS s
        ON s.release = r.live AND s.sha256 = p.sha256 AND s.task = %(task)s
    WHERE p.sha256 = %(sha256)s::bytea AND EXISTS (
        SELECT FROM lalafo.ad_photos AS a WHERE a.sha256 = %(sha256)s::bytea
        AND (%(catalogs)s::text[] IS NULL OR a.catalog = ANY(%(catalogs)s::text[]))
    )
"""


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo that the caller may read. `answer`: of the live release; None: there is none."""

    sha256: str
    rendition_sha256: bytes
    height: int
    width: int
    answer: dict[str, Any] | None

    @property
    def mask(self) -> EncodedMask:
        """The mask; raises a Problem (404) where the live release has none."""
        answer = self.require_answer()
        height, width = answer["size"]
        return EncodedMask(height, width, answer["counts"])

    def require_answer(self) -> dict[str, Any]:
        """The answer, in the shape of `schemas.segments.SegmentsOut`.

        Raises:
            Problem: 404, the live release has not answered the photo.
        """
        if self.answer is None:
            raise Problem(
                404,
                "no_segments",
                f"the live release has no mask of the photo {self.sha256}: it follows within "
                "seconds of an ad, unless the task `segments` is off, or the release lacks it",
            )
        return self.answer


@repeated_once(repeatable=True)
async def find_photo(services: Services, caller: Caller, sha256: str) -> FoundPhoto:
    """Find a photo and its mask.

    Raises:
        Problem: 404, no ad that the caller may read has the photo.
        RetryableError: PostgreSQL is unavailable.
    """
    values = {
        "sha256": bytes.fromhex(sha256),
        "task": TASK,
        "catalogs": None if caller.catalogs is None else sorted(caller.catalogs),
    }
    async with services.database.connection() as connection:
        row = await (await connection.execute(_FIND, values, prepare=True)).fetchone()
    if row is None:
        raise Problem(404, "no_such_photo", f"no ad that this key may read has the photo {sha256}")
    rendition, height, width, release, label, score, details = row
    answer = None
    if label is not None:
        head = {"sha256": sha256, "release": release, "label": label, "score": round(score, 6)}
        answer = {**head, **details}
    return FoundPhoto(sha256, rendition, height, width, answer)
