"""The route of the live release: what it can predict.

Owns the statement. A response changes only with a promotion, and once an index is ready, so a
client keeps it by its ETag. A
release belongs to no catalog: every key with the scope `read` may read it.
"""

from hashlib import blake2b

from fastapi import APIRouter, Request, Response

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Read
from gateway.edge.etags import unchanged
from gateway.problems import Problem
from gateway.schemas.ads import Source
from gateway.schemas.links import release_page
from gateway.schemas.releases import LiveReleaseOut
from gateway.services import Services, ServicesDep

router = APIRouter(tags=["read"])

_LIVE = """
    SELECT r.name, coalesce(r.manifest ->> 'backbone', r.backbone),
        coalesce(r.manifest -> 'taxonomy', '{}'), r.manifest ->> 'weights_source', r.created_at,
        EXISTS (SELECT FROM lalafo.vector_indexes AS i
            WHERE i.backbone = r.backbone AND i.state = 'ready')
    FROM lalafo.releases AS r JOIN lalafo.active_releases AS f ON f.live = r.name
"""


@router.get(
    "/v1/releases/live",
    summary="Get the live release",
    description="Returns the live release and the labels that it can predict. Send the response's "
    "`ETag` as `If-None-Match` to get 304 until another release is live, or the index of its "
    "backbone is ready.",
    response_model=LiveReleaseOut,
    responses={
        404: {"description": "No release is live: nothing is scored until one is."},
        304: {"description": "Not modified since the response with this ETag."},
    },
)
async def live(caller: Read, services: ServicesDep, request: Request) -> Response:
    """Return the live release."""
    found = await _read(services)
    if found is None:
        raise Problem(
            404,
            "no_release",
            "no release is live, so nothing is scored; `lalafo releases install starter` installs "
            "the one that is shipped",
        )
    body = found.model_dump_json().encode()
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@repeated_once(repeatable=True)
async def _read(services: Services) -> LiveReleaseOut | None:
    async with services.database.connection() as connection:
        cursor = await connection.execute(_LIVE, prepare=True)
        row = await cursor.fetchone()
    if row is None:
        return None
    name, backbone, taxonomy, weights, created_at, similar_ads = row
    return LiveReleaseOut(
        release=Source(id=name, url=release_page(services.settings.dagster_url)),
        backbone=backbone,
        labels={task: sorted(taxonomy[task]) for task in sorted(taxonomy)},
        weights=weights,
        created_at=created_at,
        similar_ads=similar_ads,
    )
