"""The feedback route: a person's label of an ad in a task, for the next training set.

One transaction stores the label, an outbox record for the topic `<ads topic>.feedback`, and the
answer to an Idempotency-Key: a request that is sent again does not replace a later label. The task
must be one of the live release, or an installed one that learns from labels: its first labels are
what the first release with it is trained on. The label need not be known: new labels are how a
taxonomy grows, and the response says whether the release knows the label.
"""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import psycopg
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.backends.connections import repeated_once
from gateway.backends.outbox import PendingRecord
from gateway.edge.auth import Feedback
from gateway.edge.paths import AdInPath
from gateway.edge.tracing import traceparent
from gateway.intake.accept import key_reused
from gateway.intake.bodies import inlined, read_json
from gateway.intake.routes import IdempotencyKey
from gateway.problems import Problem, unavailable
from gateway.schemas.ads import FeedbackOut
from gateway.schemas.requests import FeedbackIn
from gateway.services import Services, ServicesDep
from ops.events.feedback import Label, feedback_event
from resources.kafka.connection import feedback_topic

ATTEMPTS = 5

router = APIRouter(tags=["feedback"])

# Of two concurrent statements with one Idempotency-Key the second fails with a unique violation,
# which rolls it back; the next attempt finds the answer.
GIVE = """
WITH given AS (
    SELECT digest, answer FROM lalafo.idempotency_keys
    WHERE api_key = %(by)s AND idempotency_key = %(idempotency_key)s::text
), ad AS (
    SELECT FROM lalafo.ads WHERE catalog = %(catalog)s AND ad_id = %(ad_id)s
    UNION ALL
    SELECT FROM lalafo.accepted_ads WHERE catalog = %(catalog)s AND ad_id = %(ad_id)s
    LIMIT 1
), live AS (
    SELECT r.manifest -> 'taxonomy' AS taxonomy, coalesce(
        r.manifest -> 'taxonomy' -> %(task)s ? %(label)s
        OR (r.manifest -> 'heads' -> %(task)s ? 'thresholds' AND EXISTS (
            SELECT FROM jsonb_array_elements_text(r.manifest -> 'taxonomy' -> %(task)s) AS t (label)
            WHERE starts_with(t.label, %(label)s || '/')
        )), false) AS knows
    FROM lalafo.releases AS r JOIN lalafo.active_releases AS f ON f.live = r.name
), taught AS (
    SELECT jsonb_object_keys(taxonomy) AS task FROM live
    UNION
    SELECT name FROM lalafo.tasks WHERE answer -> 'x-accepts-labels' = 'true'
), labelled AS (
    INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by, given_at)
    SELECT %(catalog)s, %(ad_id)s, %(task)s, %(label)s, %(given_by)s, %(given_at)s
    FROM ad, live WHERE %(task)s IN (SELECT task FROM taught) AND NOT EXISTS (SELECT FROM given)
    ON CONFLICT (catalog, ad_id, task) DO UPDATE
        SET label = excluded.label, given_by = excluded.given_by, given_at = excluded.given_at
    RETURNING 1
), answered AS (
    INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer)
    SELECT %(by)s, %(idempotency_key)s::text, %(request)s::bytea, jsonb_build_array(
        200, %(answer)s::jsonb || jsonb_build_object('known', live.knows)
    )
    FROM labelled, live WHERE %(idempotency_key)s::text IS NOT NULL
), pending AS (
    INSERT INTO lalafo.outbox (topic, key, value, traceparent)
    SELECT %(topic)s, %(key)s, %(value)s, %(traceparent)s FROM labelled RETURNING id
)
SELECT EXISTS (SELECT FROM ad),
    ARRAY(SELECT task FROM taught),
    coalesce((SELECT knows FROM live), false),
    (SELECT id FROM pending),
    (SELECT digest FROM given), (SELECT answer FROM given),
    EXISTS (SELECT FROM given) AND EXISTS (
        SELECT FROM lalafo.outbox AS o WHERE o.topic = %(topic)s AND o.key = %(key)s
    )
"""


@router.post(
    "/v1/ads/{catalog}/{ad_id:path}/feedback",
    summary="Give feedback on an ad",
    response_model=FeedbackOut,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": inlined(FeedbackIn)}},
        }
    },
    responses={404: {"description": "The ad does not exist."}},
)
async def give_feedback(
    request: Request,
    services: ServicesDep,
    caller: Feedback,
    key: AdInPath,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Sets the correct label of an ad in a task. The last label replaces earlier ones, from any
    person. Training prefers it to the seller's category.
    """
    caller.require_catalog(key.catalog)
    services.outbox.require_broker()
    feedback = await read_json(request, FeedbackIn, services.settings.event_limits)
    label = Label(key, feedback.task, feedback.label, feedback.given_by, datetime.now(UTC))
    values = parameters(label, feedback_topic(services.settings.ads_topic))
    values |= {
        "by": caller.key_id,
        "idempotency_key": idempotency_key,
        "traceparent": traceparent.get(),
    }
    ad_known, tasks, label_known, row_id, given, answer, pending = await _give(services, values)
    if given is not None:
        if bytes(given) != values["request"]:
            raise key_reused()
        status, stored = answer
        # PostgreSQL's jsonb does not keep the order of the fields.
        body = {name: stored[name] for name in (*_body(label), "known")}
        return JSONResponse(
            {**body, "published": not pending},
            status_code=status,
            headers={"Idempotency-Replayed": "true"},
        )
    if not ad_known:
        raise Problem(404, "no_such_ad", f"there is no ad {key}")
    if row_id is None:
        raise Problem(
            422,
            "no_such_task",
            f"no task {label.task!r} learns from labels; these do: {', '.join(sorted(tasks))}",
            tasks=sorted(tasks),
        )
    record = PendingRecord(
        int(row_id), values["topic"], values["key"], values["value"], values["traceparent"]
    )
    published = await services.outbox.publish(record)
    return JSONResponse({**_body(label), "known": label_known, "published": published})


@repeated_once(repeatable=True)
async def _give(services: Services, values: dict[str, Any]) -> tuple[Any, ...]:
    async with services.database.connection() as connection:
        for _ in range(ATTEMPTS):
            try:
                cursor = await connection.execute(GIVE, values, prepare=True)
                row = await cursor.fetchone()
            except psycopg.errors.UniqueViolation:
                continue
            assert row is not None  # the statement always returns a row
            return tuple(row)
    raise unavailable("the answer to this Idempotency-Key")


def parameters(label: Label, topic: str) -> dict[str, Any]:
    """The parameters of the statement: the label's row, the record for Kafka, and the answer."""
    body = _body(label)
    return {
        **body,
        "given_by": label.given_by,
        "given_at": label.given_at,
        "topic": topic,
        "key": str(label.key).encode(),
        "value": feedback_event(label),
        "request": sha256(json.dumps(["feedback", body, label.given_by]).encode()).digest(),
        "answer": json.dumps(body),
    }


def _body(label: Label) -> dict[str, Any]:
    return {
        "catalog": label.key.catalog,
        "ad_id": label.key.ad_id,
        "task": label.task,
        "label": label.label,
    }
