"""The calls of the HTTP API, version 1: how each is asked, as data.

Decides paths, parameters and bodies. No I/O: a driver sends a Call, and says what came.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic_core import to_json

from gateway.schemas.ads import AdIn

Photo: TypeAlias = Path | bytes
"""A photo to send: a file, which is streamed, or its bytes."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, which may be sent several times.

    Args:
        timeout_s: for a connection, and between two pieces of the answer.
    """

    method: str
    url: str
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    content: Photo | None = field(default=None, repr=False)
    form: Mapping[str, str] = field(default_factory=dict)
    photos: tuple[Photo, ...] = field(default=(), repr=False)

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """httpx's arguments for one sending: its files are open until the block ends.

        Raises:
            OSError: a photo's file can't be read.
        """
        given: dict[str, Any] = {
            "method": self.method,
            "url": self.url,
            "headers": dict(self.headers),
            "params": dict(self.params),
            "timeout": self.timeout_s,
        }
        if not self.photos:
            body = self.content.read_bytes() if isinstance(self.content, Path) else self.content
            yield given if body is None else {**given, "content": body}
            return
        with ExitStack() as files:
            parts = [
                (
                    PHOTO_PART,
                    (
                        f"{position}.bin",
                        photo
                        if isinstance(photo, bytes)
                        else files.enter_context(photo.open("rb")),
                        "application/octet-stream",
                    ),
                )
                for position, photo in enumerate(self.photos)
            ]
            yield {**given, "data": dict(self.form), "files": parts}


AD_PART, PHOTO_PART = "ad", "photo"
"""The parts of a multipart post."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the gateway is, and how long one request may take there."""

    base_url: str
    timeout_s: float

    def call(self, method: str, path: str, **more: Any) -> Call:
        """A request to a path below the gateway's address."""
        return Call(method, f"{self.base_url}{path}", self.timeout_s, **more)

    def post_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo],
        *,
        idempotency_key: str,
        wait_s: float | None,
    ) -> Call:
        """POST /v1/ads; a `wait_s` adds to the time that the answer may take."""
        body = ad_json(ad)
        headers = {"Idempotency-Key": idempotency_key}
        if photos:
            call = self.call("POST", "/v1/ads", headers=headers, photos=tuple(photos))
            call = replace(call, form={AD_PART: body.decode()})
        else:
            headers["Content-Type"] = JSON
            call = self.call("POST", "/v1/ads", headers=headers, content=body)
        if wait_s is None:
            return call
        return replace(call, params={"wait": f"{wait_s:g}"}, timeout_s=self.timeout_s + wait_s)

    def get_ad(self, catalog: str, ad_id: str) -> Call:
        """GET /v1/ads/{catalog}/{ad_id}."""
        return self.call("GET", ad_path(catalog, ad_id))

    def delete_ad(
        self, catalog: str, ad_id: str, *, revision: int | None, idempotency_key: str
    ) -> Call:
        """DELETE /v1/ads/{catalog}/{ad_id}."""
        return self.call(
            "DELETE",
            ad_path(catalog, ad_id),
            headers={"Idempotency-Key": idempotency_key},
            params=query(revision=revision),
        )

    def page(self, path: str, filters: Mapping[str, str], cursor: str | None) -> Call:
        """GET a page of a list."""
        return self.call("GET", path, params={**filters, **query(cursor=cursor)})

    def upload_photo(self, photo: Photo) -> Call:
        """POST /v1/photos: the photo is the body, whatever it is called."""
        headers = {"Content-Type": "application/octet-stream"}
        return self.call("POST", "/v1/photos", headers=headers, content=photo)

    def photo(self, sha256: str, *, thumbnail: bool) -> Call:
        """GET /v1/photos/{sha256}."""
        path = f"/v1/photos/{_segment(sha256)}"
        return self.call("GET", path, params={"thumbnail": "1"} if thumbnail else {})

    def give_feedback(
        self, catalog: str, ad_id: str, feedback: Mapping[str, str], *, idempotency_key: str
    ) -> Call:
        """POST /v1/ads/{catalog}/{ad_id}/feedback."""
        return self.call(
            "POST",
            f"{ad_path(catalog, ad_id)}/feedback",
            headers={"Idempotency-Key": idempotency_key, "Content-Type": JSON},
            content=to_json(feedback),
        )


def ad_json(ad: AdIn | Mapping[str, Any]) -> bytes:
    """The ad as a request has it: what was not set is not sent."""
    if isinstance(ad, AdIn):
        return ad.model_dump_json(exclude_unset=True).encode()
    return to_json(dict(ad))


def ad_path(catalog: str, ad_id: str) -> str:
    """The path of an ad; whatever its key holds ends in no other path."""
    return f"/v1/ads/{_segment(catalog)}/{_segment(ad_id)}"


def query(**values: object) -> dict[str, str]:
    """The parameters that are given."""
    return {name: str(value) for name, value in values.items() if value is not None}


def ads_query(
    catalog: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    page_size: int | None,
) -> dict[str, str]:
    """The filters of GET /v1/ads."""
    return query(
        catalog=catalog,
        status=status,
        since=None if since is None else since.isoformat(),
        until=None if until is None else until.isoformat(),
        limit=page_size,
    )


def _segment(text: str) -> str:
    # Of dots alone it would mean another folder, and be folded away on the way.
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)
