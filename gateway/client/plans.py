"""What each client method does, from its arguments to its result, without I/O.

Owns how responses are parsed, which calls send an Idempotency-Key, and how a client waits for an
ad. Both clients run these plans, so neither has logic of its own.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from gateway.client.calls import Address, Call, Photo, query
from gateway.client.errors import NotFound, ScoringTimeout, unreadable
from gateway.client.retry import Pause, Plan, Policy, with_retries
from gateway.schemas.ads import Accepted, AdIn, AdOut, AdPage, FailurePage, FeedbackOut, UploadOut
from gateway.schemas.duplicates import DuplicateFeedbackOut, DuplicatesPage
from gateway.schemas.history import HistoryOut
from gateway.schemas.notices import NoticesOut
from gateway.schemas.releases import LiveReleaseOut
from gateway.schemas.segments import MaskOut, SegmentsOut
from gateway.schemas.similar import SimilarPage
from gateway.schemas.statistics import StatisticsOut
from gateway.schemas.tasks import TaskList
from ops.errors import ConfigurationError

URL_VARIABLE, KEY_VARIABLE = "LALAFO_GATEWAY_URL", "LALAFO_GATEWAY_KEY"
MAX_WAIT_S = 30.0
"""The gateway's limit of `?wait=`."""
FIRST_POLL_S, MAX_POLL_S = 0.05, 1.0

Model = TypeVar("Model", bound=BaseModel)


def url_and_key(url: str | None, key: str | None) -> tuple[str, str]:
    """The gateway's URL and the API key, from the arguments or the environment; "" is no key.

    Raises:
        ConfigurationError: there is no URL, or the URL or the key is not valid.
    """
    url = os.environ.get(URL_VARIABLE, "") if url is None else url
    key = os.environ.get(KEY_VARIABLE, "") if key is None else key
    if url == "":
        raise ConfigurationError(f"no gateway URL: pass `url`, or set {URL_VARIABLE}")
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # decoded here
    except (httpx.InvalidURL, ValueError) as error:  # the latter from IDNA, and for surrogates
        raise ConfigurationError(
            "the gateway URL is not a URL; expected http://host:port or https://host"
        ) from error
    if parsed.scheme not in ("http", "https") or parsed.host == "" or parsed.query:
        raise ConfigurationError(
            f"the gateway URL is {parsed.scheme or 'no'}://{parsed.host or '…'}; expected "
            "http://host:port or https://host"
        )
    # httpx refuses a key that is not valid in a header, but its error message contains the key.
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigurationError(
            "the API key contains characters that a header can't contain: expected printable ASCII "
            "without spaces at either end"
        )
    return url.rstrip("/"), key


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of one client."""

    address: Address
    policy: Policy

    def post_ad(
        self, ad: AdIn | Mapping[str, Any], photos: Sequence[Photo], idempotency_key: str | None
    ) -> Plan[Accepted]:
        """Post an ad."""
        call = self.address.post_ad(
            ad, photos, idempotency_key=_key_or_random(idempotency_key), wait_s=None
        )
        return self._request(call, Accepted)

    def score_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo],
        within_s: float,
        idempotency_key: str | None,
    ) -> Plan[AdOut]:
        """Post an ad and wait for its result in the same request; poll if that ends early."""
        deadline = self.policy.clock() + within_s
        call = self.address.post_ad(
            ad,
            photos,
            idempotency_key=_key_or_random(idempotency_key),
            wait_s=min(within_s, MAX_WAIT_S),
        )
        response = yield from with_retries(call, self.policy)
        if response.status_code == httpx.codes.OK and "status" in _object(response):
            return _read(response, AdOut)
        accepted = _read(response, Accepted)
        remaining_s = deadline - self.policy.clock()
        return (
            yield from self.wait_for(
                accepted.catalog, accepted.ad_id, accepted.known_revision, max(remaining_s, 0.0)
            )
        )

    def wait_for(self, catalog: str, ad_id: str, revision: int, within_s: float) -> Plan[AdOut]:
        """Poll until the revision, or a higher one, is committed."""
        deadline, pause_s = self.policy.clock() + within_s, FIRST_POLL_S
        while True:
            ad: AdOut | None = None
            try:
                remaining_s = max(0.0, deadline - self.policy.clock())
                policy = replace(self.policy, patience_s=min(self.policy.patience_s, remaining_s))
                ad = yield from replace(self, policy=policy).get_ad(catalog, ad_id)
            except NotFound:
                pass  # an event that was sent to Kafka directly is unknown until it is committed
            if ad is not None and ad.status != "received" and ad.revision >= revision:
                return ad
            remaining_s = deadline - self.policy.clock()
            if remaining_s <= 0:
                raise ScoringTimeout(
                    f"revision {revision} of {catalog}/{ad_id} is not committed after "
                    f"{within_s:g} s; " + ("the ad is unknown" if ad is None else _state_of(ad)),
                    kind="late",
                )
            yield Pause(min(pause_s, remaining_s))
            pause_s = min(2 * pause_s, MAX_POLL_S)

    def get_ad(self, catalog: str, ad_id: str) -> Plan[AdOut]:
        """Get an ad."""
        return self._request(self.address.get_ad(catalog, ad_id), AdOut)

    def delete_ad(
        self, catalog: str, ad_id: str, revision: int | None, idempotency_key: str | None
    ) -> Plan[Accepted]:
        """Delete an ad; the deletion is accepted as an ad is."""
        call = self.address.delete_ad(
            catalog, ad_id, revision=revision, idempotency_key=_key_or_random(idempotency_key)
        )
        return self._request(call, Accepted)

    def ads(self, filters: Mapping[str, str]) -> "Pages[AdPage]":
        """List ads, by page."""
        return lambda cursor: self._request(self.address.page("/v1/ads", filters, cursor), AdPage)

    def similar(self, catalog: str, ad_id: str, parameters: Mapping[str, str]) -> Plan[SimilarPage]:
        """Get similar ads."""
        return self._request(self.address.similar(catalog, ad_id, parameters), SimilarPage)

    def search(self, search: Mapping[str, Any]) -> Plan[SimilarPage]:
        """Search ads."""
        return self._request(self.address.search(search), SimilarPage)

    def duplicates(
        self, catalog: str, ad_id: str, parameters: Mapping[str, str]
    ) -> Plan[DuplicatesPage]:
        """Get duplicates."""
        return self._request(self.address.duplicates(catalog, ad_id, parameters), DuplicatesPage)

    def judge_duplicate(
        self, catalog: str, ad_id: str, feedback: Mapping[str, Any]
    ) -> Plan[DuplicateFeedbackOut]:
        """Say whether two ads are the same."""
        call = self.address.judge_duplicate(catalog, ad_id, feedback)
        return self._request(call, DuplicateFeedbackOut)

    def search_by_photo(self, photo: Photo, parameters: Mapping[str, str]) -> Plan[SimilarPage]:
        """Search ads by a photo."""
        return self._request(self.address.search_by_photo(photo, parameters), SimilarPage)

    def failures(self, filters: Mapping[str, str]) -> "Pages[FailurePage]":
        """List failures, by page."""
        return lambda cursor: self._request(
            self.address.page("/v1/failures", filters, cursor), FailurePage
        )

    def give_feedback(
        self,
        catalog: str,
        ad_id: str,
        feedback: Mapping[str, str],
        idempotency_key: str | None,
    ) -> Plan[FeedbackOut]:
        """Give feedback on an ad."""
        call = self.address.give_feedback(
            catalog, ad_id, feedback, idempotency_key=_key_or_random(idempotency_key)
        )
        return self._request(call, FeedbackOut)

    def photo(self, sha256: str, thumbnail: bool) -> Plan[bytes]:
        """Get the bytes of a stored photo."""
        call = self.address.photo(sha256, thumbnail=thumbnail)
        response = yield from with_retries(call, self.policy)
        return response.content

    def segments(self, sha256: str) -> Plan[SegmentsOut]:
        """Get the goods in a photo."""
        return self._request(self.address.segments(sha256), SegmentsOut)

    def cutout(self, sha256: str, image_format: str, trimmed: bool) -> Plan[bytes]:
        """Get the bytes of a cut-out."""
        call = self.address.cutout(sha256, image_format=image_format, trimmed=trimmed)
        response = yield from with_retries(call, self.policy)
        return response.content

    def give_mask(self, sha256: str, mask: Photo, given_by: str | None) -> Plan[MaskOut]:
        """Give the mask of a photo."""
        return self._request(self.address.give_mask(sha256, mask, given_by=given_by), MaskOut)

    def upload_photo(self, photo: Photo) -> Plan[UploadOut]:
        """Upload a photo, which ads can then name by its SHA-256."""
        return self._request(self.address.upload_photo(photo), UploadOut)

    def statistics(self, minutes: int) -> Plan[StatisticsOut]:
        """Get the statistics."""
        call = self.address.call("GET", "/v1/statistics", params=query(minutes=minutes))
        return self._request(call, StatisticsOut)

    def history(self, minutes: int) -> Plan[HistoryOut]:
        """Get the history."""
        call = self.address.call("GET", "/v1/history", params=query(minutes=minutes))
        return self._request(call, HistoryOut)

    def live_release(self) -> Plan[LiveReleaseOut]:
        """Get the live release."""
        return self._request(self.address.call("GET", "/v1/releases/live"), LiveReleaseOut)

    def tasks(self) -> Plan[TaskList]:
        """Get the installed tasks."""
        return self._request(self.address.call("GET", "/v1/tasks"), TaskList)

    def notices(self) -> Plan[NoticesOut]:
        """Get the notices."""
        return self._request(self.address.call("GET", "/v1/notices"), NoticesOut)

    def _request(self, call: Call, model: type[Model]) -> Plan[Model]:
        response = yield from with_retries(call, self.policy)
        return _read(response, model)


Page = TypeVar("Page", AdPage, FailurePage)
Pages = Callable[[str | None], Plan[Page]]
"""Returns the plan of the page at a cursor; None: the first page."""


def _key_or_random(idempotency_key: str | None) -> str:
    """The given key, or a random one that all attempts of the call share."""
    return uuid.uuid4().hex if idempotency_key is None else idempotency_key


def _read(response: httpx.Response, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise unreadable(response, f"{where or 'body'}: {first['msg']}") from error


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise unreadable(response, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise unreadable(response, f"the body is a {type(body).__name__}, expected an object")
    return body


def _state_of(ad: AdOut) -> str:
    waiting = (
        "" if ad.waiting is None else f", revision {ad.waiting.revision} is accepted and waiting"
    )
    return f"revision {ad.revision} is {ad.status}{waiting}"
