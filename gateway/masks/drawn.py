"""Stores masks that people have drawn: what releases are judged by."""

from datetime import datetime

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.problems import Problem
from ops.masks.rle import EncodedMask

# Not of a photo that is deleted meanwhile. Sent again, the time stays.
_STORE = """
    INSERT INTO lalafo.mask_labels AS held (sha256, height, width, counts, given_by)
    SELECT p.sha256, %(height)s, %(width)s, %(counts)s, %(given_by)s FROM lalafo.photos AS p
    WHERE p.sha256 = %(sha256)s FOR KEY SHARE OF p
    ON CONFLICT (sha256) DO UPDATE SET height = EXCLUDED.height, width = EXCLUDED.width,
        counts = EXCLUDED.counts, given_by = EXCLUDED.given_by,
        given_at = CASE WHEN (held.counts, held.given_by) = (EXCLUDED.counts, EXCLUDED.given_by)
            THEN held.given_at ELSE now() END
    RETURNING given_at
"""


@repeated_once(repeatable=True)
async def store_mask(
    database: GatewayDatabase, sha256: str, mask: EncodedMask, *, given_by: str
) -> datetime:
    """Store a mask in place of an earlier one, and return when it was given first.

    Raises:
        Problem: 404, the photo was deleted.
        RetryableError: PostgreSQL is unavailable.
    """
    values = {
        **{"sha256": bytes.fromhex(sha256), "height": mask.height, "width": mask.width},
        **{"counts": mask.counts, "given_by": given_by},
    }
    async with database.connection() as connection:
        row = await (await connection.execute(_STORE, values)).fetchone()
    if row is None:
        raise Problem(404, "no_such_photo", f"the photo {sha256} was deleted")
    given_at: datetime = row[0]
    return given_at
