"""The requests of the HTTP API, version 1, as data.

Owns paths, parameters and bodies. Does no I/O: a client sends a Call.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from pydantic_core import to_json

from gateway.client.errors import Refused
from gateway.schemas.requests import AdIn
from ops.errors import BadInputError
from ops.events.parse import AD_ID, CATALOG

Photo: TypeAlias = Path | bytes
"""A photo to upload: the path of a file, which is streamed, or the bytes."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, which may be sent several times.

    Args:
        timeout_s: seconds to connect, and between two reads of the response.
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
        """The arguments of `httpx.Client.request` for one attempt; files stay open in the block.

        Raises:
            OSError: a photo's file can't be read.
        """
        arguments: dict[str, Any] = {
            "method": self.method,
            "url": self.url,
            "headers": dict(self.headers),
            "params": dict(self.params),
            "timeout": self.timeout_s,
        }
        if not self.photos:
            body = self.content.read_bytes() if isinstance(self.content, Path) else self.content
            yield arguments if body is None else {**arguments, "content": body}
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
            yield {**arguments, "data": dict(self.form), "files": parts}


AD_PART, PHOTO_PART = "ad", "photo"
"""The part names of a multipart body."""


@dataclass(frozen=True, slots=True)
class Address:
    """The gateway's URL, and the timeout of one request."""

    base_url: str
    timeout_s: float

    def call(self, method: str, path: str, **more: Any) -> Call:
        """A request to a path below the gateway's URL."""
        return Call(method, f"{self.base_url}{path}", self.timeout_s, **more)

    def post_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo],
        *,
        idempotency_key: str,
        wait_s: float | None,
    ) -> Call:
        """POST /v1/ads; `wait_s` is added to the request's timeout."""
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
        return self.call("GET", checked_path(catalog, ad_id))

    def delete_ad(
        self, catalog: str, ad_id: str, *, revision: int | None, idempotency_key: str
    ) -> Call:
        """DELETE /v1/ads/{catalog}/{ad_id}."""
        return self.call(
            "DELETE",
            checked_path(catalog, ad_id),
            headers={"Idempotency-Key": idempotency_key},
            params=query(revision=revision),
        )

    def similar(self, catalog: str, ad_id: str, parameters: Mapping[str, str]) -> Call:
        """GET /v1/ads/{catalog}/{ad_id}/similar."""
        return self.call("GET", f"{checked_path(catalog, ad_id)}/similar", params=parameters)

    def duplicates(self, catalog: str, ad_id: str, parameters: Mapping[str, str]) -> Call:
        """GET /v1/ads/{catalog}/{ad_id}/duplicates."""
        return self.call("GET", f"{checked_path(catalog, ad_id)}/duplicates", params=parameters)

    def judge_duplicate(self, catalog: str, ad_id: str, feedback: Mapping[str, Any]) -> Call:
        """POST /v1/ads/{catalog}/{ad_id}/duplicates/feedback."""
        return self.call(
            "POST",
            f"{checked_path(catalog, ad_id)}/duplicates/feedback",
            headers={"Content-Type": JSON},
            content=to_json(feedback),
        )

    def search(self, search: Mapping[str, Any]) -> Call:
        """POST /v1/search."""
        headers = {"Content-Type": JSON}
        return self.call("POST", "/v1/search", headers=headers, content=ad_json(search))

    def search_by_photo(self, photo: Photo, parameters: Mapping[str, str]) -> Call:
        """POST /v1/search/photo with the photo as the body."""
        headers = {"Content-Type": "application/octet-stream"}
        return self.call(
            "POST", "/v1/search/photo", headers=headers, params=parameters, content=photo
        )

    def page(self, path: str, filters: Mapping[str, str], cursor: str | None) -> Call:
        """GET one page of a list."""
        return self.call("GET", path, params={**filters, **query(cursor=cursor)})

    def upload_photo(self, photo: Photo) -> Call:
        """POST /v1/photos with the photo as the body."""
        headers = {"Content-Type": "application/octet-stream"}
        return self.call("POST", "/v1/photos", headers=headers, content=photo)

    def photo(self, sha256: str, *, thumbnail: bool) -> Call:
        """GET /v1/photos/{sha256}."""
        path = f"/v1/photos/{_segment(sha256)}"
        return self.call("GET", path, params={"thumbnail": "1"} if thumbnail else {})

    def segments(self, sha256: str) -> Call:
        """GET /v1/photos/{sha256}/segments."""
        return self.call("GET", f"/v1/photos/{_segment(sha256)}/segments")

    def cutout(self, sha256: str, *, image_format: str, trimmed: bool) -> Call:
        """GET /v1/photos/{sha256}/cutout."""
        parameters = {"format": image_format, **({"trimmed": "1"} if trimmed else {})}
        return self.call("GET", f"/v1/photos/{_segment(sha256)}/cutout", params=parameters)

    def give_mask(self, sha256: str, mask: Photo, *, given_by: str | None) -> Call:
        """PUT /v1/photos/{sha256}/mask with the PNG as the body."""
        return self.call(
            "PUT",
            f"/v1/photos/{_segment(sha256)}/mask",
            headers={"Content-Type": "image/png"},
            params=query(given_by=given_by),
            content=mask,
        )

    def give_feedback(
        self, catalog: str, ad_id: str, feedback: Mapping[str, str], *, idempotency_key: str
    ) -> Call:
        """POST /v1/ads/{catalog}/{ad_id}/feedback."""
        return self.call(
            "POST",
            f"{checked_path(catalog, ad_id)}/feedback",
            headers={"Idempotency-Key": idempotency_key, "Content-Type": JSON},
            content=to_json(feedback),
        )


def ad_json(ad: AdIn | Mapping[str, Any]) -> bytes:
    """The ad as a JSON body; fields of a model that were not set are omitted."""
    if isinstance(ad, AdIn):
        return ad.model_dump_json(exclude_unset=True).encode()
    fields = dict(ad)
    for name in ("price", "price_from", "price_to"):
        if isinstance(fields.get(name), Decimal):  # to_json would write 1E+5 as "1E+5"
            fields[name] = f"{fields[name]:f}"
    return to_json(fields)


def checked_path(catalog: str, ad_id: str) -> str:
    """The path of an ad whose key can be addressed.

    Raises:
        Refused: the gateway would refuse the key, or read another one in the path.
    """
    try:
        return ad_path(CATALOG.read(catalog, "catalog"), AD_ID.read(ad_id, "ad_id"))
    except BadInputError as error:
        raise Refused(error.detail, kind="invalid") from error


def ad_path(catalog: str, ad_id: str) -> str:
    """The path of an ad, encoded so that no key can lead to another path."""
    return f"/v1/ads/{_segment(catalog)}/{_segment(ad_id)}"


def judgement(catalog: str, other_id: str, *, same: bool, given_by: str | None) -> dict[str, Any]:
    """The body of a judgement of two ads of a catalog."""
    named = {} if given_by is None else {"given_by": given_by}
    return {"other": {"catalog": catalog, "ad_id": other_id}, "same": same, **named}


def query(**values: object) -> dict[str, str]:
    """The query parameters that are not None, as the API reads them."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)  # a datetime is a date


def _segment(text: str) -> str:
    # HTTP clients and proxies normalize the path segments "." and "..": dots alone are encoded.
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)
