"""Stores what a person says of two ads, and queues one of them for the finder."""

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.problems import Problem
from ops.types import AdKey

# The smaller key first. Without a finder nothing is queued; the next one reads the label.
_STORE = """
WITH there AS (
    SELECT a.ad_id FROM lalafo.ads AS a WHERE a.catalog = %(catalog)s
    AND a.ad_id IN (%(first)s, %(second)s) AND a.status <> 'deleted'
), stored AS (
    INSERT INTO lalafo.duplicate_labels AS held (catalog, ad_id, other_id, same, given_by)
    SELECT %(catalog)s, %(first)s, %(second)s, %(same)s, %(given_by)s
    WHERE (SELECT count(*) FROM there) = 2
    ON CONFLICT (catalog, ad_id, other_id) DO UPDATE SET same = EXCLUDED.same,
        given_by = EXCLUDED.given_by, given_at = now()
    WHERE (held.same, held.given_by) <> (EXCLUDED.same, EXCLUDED.given_by)
    RETURNING 1
), queued AS (
    INSERT INTO lalafo.duplicate_changes (catalog, ad_id)
    SELECT %(catalog)s, %(first)s FROM stored
    WHERE EXISTS (SELECT FROM lalafo.duplicate_search)
)
SELECT ARRAY(SELECT ad_id FROM there)"""


@repeated_once(repeatable=True)
async def store_feedback(
    database: GatewayDatabase, one: AdKey, other: AdKey, *, same: bool, given_by: str
) -> None:
    """Store it; a repeated call changes nothing.

    Raises:
        Problem: 404, one of the ads does not exist.
        RetryableError: PostgreSQL is unavailable.
    """
    first, second = sorted((one.ad_id, other.ad_id))
    values = {
        **{"catalog": one.catalog, "first": first, "second": second},
        **{"same": same, "given_by": given_by},
    }
    async with database.connection() as connection:
        row = await (await connection.execute(_STORE, values)).fetchone()
    assert row is not None  # the statement always returns a row
    for key in (one, other):
        if key.ad_id not in row[0]:
            raise Problem(
                404, "no_such_ad", f"there is no ad {key.ad_id!r} in the catalog {key.catalog!r}"
            )
