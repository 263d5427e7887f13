"""The feedback route: a person's label of an ad in a task, for the next training set.

One transaction stores the label and an outbox record for the topic `<ads topic>.feedback`. The task
must be one of the live release. The label need not be: new labels are how a taxonomy grows, and
the response says whether the release knows the label.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from gateway.backends.outbox import PendingRecord
from gateway.edge.auth import Feedback
from gateway.problems import Problem
from gateway.schemas.ads import CATALOG, NO_NUL, FeedbackIn, FeedbackOut
from gateway.services import ServicesDep
from ops.events.parse import MAX_KEY_CHARS
from ops.types import AdKey
from resources.kafka.connection import feedback_topic

SCHEMA = 1

router = APIRouter(tags=["feedback"])

_GIVE = """
WITH ad AS (
    SELECT FROM lalafo.ads WHERE catalog = %(catalog)s AND ad_id = %(ad_id)s
    UNION ALL
    SELECT FROM lalafo.accepted_ads WHERE catalog = %(catalog)s AND ad_id = %(ad_id)s
    LIMIT 1
), live AS (
    SELECT r.manifest -> 'taxonomy' AS taxonomy
    FROM lalafo.releases AS r JOIN lalafo.active_releases AS f ON f.live = r.name
), labelled AS (
    INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by, given_at)
    SELECT %(catalog)s, %(ad_id)s, %(task)s, %(label)s, %(given_by)s, %(given_at)s
    FROM ad, live WHERE live.taxonomy ? %(task)s
    ON CONFLICT (catalog, ad_id, task) DO UPDATE
        SET label = excluded.label, given_by = excluded.given_by, given_at = excluded.given_at
    RETURNING 1
), pending AS (
    INSERT INTO lalafo.outbox (topic, key, value)
    SELECT %(topic)s, %(key)s, %(value)s FROM labelled RETURNING id
)
SELECT EXISTS (SELECT FROM ad),
    ARRAY(SELECT jsonb_object_keys(taxonomy) FROM live),
    coalesce((SELECT taxonomy -> %(task)s ? %(label)s FROM live), false),
    (SELECT id FROM pending)
"""


@router.post(
    "/v1/ads/{catalog}/{ad_id:path}/feedback",
    summary="Give feedback on an ad",
    response_model=FeedbackOut,
    responses={404: {"description": "The ad does not exist."}},
)
async def give_feedback(
    services: ServicesDep,
    caller: Feedback,
    catalog: Annotated[str, Path(max_length=MAX_KEY_CHARS, pattern=CATALOG)],
    ad_id: Annotated[str, Path(min_length=1, max_length=MAX_KEY_CHARS, pattern=NO_NUL)],
    feedback: FeedbackIn,
) -> JSONResponse:
    """Sets the correct label of an ad in a task. The last label replaces earlier ones, from any
    person. Training prefers it to the seller's category.
    """
    caller.require_catalog(catalog)
    services.outbox.require_broker()
    key = AdKey(catalog, ad_id)
    topic = feedback_topic(services.settings.ads_topic)
    values = _parameters(key, feedback, topic)
    async with services.database.connection() as connection:
        row = await (await connection.execute(_GIVE, values, prepare=True)).fetchone()
    assert row is not None  # the statement always returns a row
    ad_known, tasks, label_known, row_id = row
    if not ad_known:
        raise Problem(404, "no_such_ad", f"there is no ad {key}")
    if row_id is None:
        raise Problem(
            422,
            "no_such_task",
            f"the live release has no task {feedback.task!r}; it has {', '.join(sorted(tasks))}",
            tasks=sorted(tasks),
        )
    pending = PendingRecord(int(row_id), topic, values["key"], values["value"])
    return JSONResponse(
        {
            "catalog": catalog,
            "ad_id": ad_id,
            "task": feedback.task,
            "label": feedback.label,
            "known": label_known,
            "published": await services.outbox.publish(pending),
        }
    )


def _parameters(key: AdKey, feedback: FeedbackIn, topic: str) -> dict[str, Any]:
    """The parameters of the statement: the label's row, and the record for Kafka."""
    label = {
        "catalog": key.catalog,
        "ad_id": key.ad_id,
        "task": feedback.task,
        "label": feedback.label,
        "given_by": feedback.given_by,
    }
    given_at = datetime.now(UTC)
    record = {"schema": SCHEMA, **label, "given_at": given_at.isoformat()}
    return {
        **label,
        "given_at": given_at,
        "topic": topic,
        "key": str(key).encode(),
        "value": json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(),
    }
