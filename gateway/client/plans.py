"""What each method of a client does, from its arguments to its answer, without I/O.

Decides how answers are read, which calls carry an Idempotency-Key, and how a client waits for an
ad. Both clients run these plans, so that neither has logic of its own.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from gateway.client.calls import Address, Call, Photo, query
from gateway.client.errors import Late, NotFound, unreadable
from gateway.client.retry import Pause, Plan, Policy, persist
from gateway.schemas.ads import Accepted, AdIn, AdOut, AdPage, FailurePage, FeedbackOut, UploadOut
from gateway.schemas.statistics import StatisticsOut
from ops.errors import ConfigurationError

URL_VARIABLE, KEY_VARIABLE = "LALAFO_GATEWAY_URL", "LALAFO_GATEWAY_KEY"
LONGEST_WAIT_S = 30.0
"""The gateway's own bound of `?wait=`."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0

Model = TypeVar("Model", bound=BaseModel)


def given_or_set(url: str | None, key: str | None) -> tuple[str, str]:
    """The gateway's address and the key: what is given, else the environment's; "" is no key.

    Raises:
        ConfigurationError: there is no address, or one of the two can't be used.
    """
    url = os.environ.get(URL_VARIABLE, "") if url is None else url
    key = os.environ.get(KEY_VARIABLE, "") if key is None else key
    if url == "":
        raise ConfigurationError(f"no gateway is named: give its address, or set {URL_VARIABLE}")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError("the gateway's address is no URL") from error
    if parsed.scheme not in ("http", "https") or parsed.host == "" or parsed.query:
        raise ConfigurationError(
            f"the gateway's address is {parsed.scheme or 'no'}://{parsed.host or '…'}; expected "
            "http://host:port or https://host"
        )
    # A key that no header can hold would be shown by the error of the library that refuses it.
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigurationError(
            "the API key holds what no header can: a blank at an end, a line break or the like"
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
        """Accepted, committed, and perhaps published."""
        call = self.address.post_ad(ad, photos, idempotency_key=_once(idempotency_key), wait_s=None)
        return self._asked(call, Accepted)

    def score_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo],
        within_s: float,
        idempotency_key: str | None,
    ) -> Plan[AdOut]:
        """Post, and be told the result by the same request; if that ended early, look for it."""
        deadline = self.policy.clock() + within_s
        call = self.address.post_ad(
            ad,
            photos,
            idempotency_key=_once(idempotency_key),
            wait_s=min(within_s, LONGEST_WAIT_S),
        )
        answer = yield from persist(call, self.policy)
        if answer.status_code == httpx.codes.OK and "status" in _object(answer):
            return _read(answer, AdOut)
        accepted = _read(answer, Accepted)
        left_s = deadline - self.policy.clock()
        return (
            yield from self.wait_for(
                accepted.catalog, accepted.ad_id, accepted.known_revision, max(left_s, 0.0)
            )
        )

    def wait_for(self, catalog: str, ad_id: str, revision: int, within_s: float) -> Plan[AdOut]:
        """Look until the revision, or a higher one, is committed."""
        deadline, pause_s = self.policy.clock() + within_s, FIRST_LOOK_S
        while True:
            found: AdOut | None = None
            try:
                left_s = max(0.0, deadline - self.policy.clock())
                policy = replace(self.policy, patience_s=min(self.policy.patience_s, left_s))
                found = yield from replace(self, policy=policy).get_ad(catalog, ad_id)
            except NotFound:
                pass  # it may come through Kafka, and be read only then
            if found is not None and found.status != "received" and found.revision >= revision:
                return found
            left_s = deadline - self.policy.clock()
            if left_s <= 0:
                raise Late(
                    f"revision {revision} of {catalog}/{ad_id} is not committed after "
                    f"{within_s:g} s; "
                    + ("nothing is known of the ad" if found is None else _how(found)),
                    kind="late",
                )
            yield Pause(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)

    def get_ad(self, catalog: str, ad_id: str) -> Plan[AdOut]:
        """Everything known of an ad."""
        return self._asked(self.address.get_ad(catalog, ad_id), AdOut)

    def delete_ad(
        self, catalog: str, ad_id: str, revision: int | None, idempotency_key: str | None
    ) -> Plan[Accepted]:
        """A tombstone, accepted as an ad is."""
        call = self.address.delete_ad(
            catalog, ad_id, revision=revision, idempotency_key=_once(idempotency_key)
        )
        return self._asked(call, Accepted)

    def ads(self, filters: Mapping[str, str]) -> "Pages[AdPage]":
        """The pages of a list of ads."""
        return lambda cursor: self._asked(self.address.page("/v1/ads", filters, cursor), AdPage)

    def failures(self, filters: Mapping[str, str]) -> "Pages[FailurePage]":
        """The pages of a list of failures."""
        return lambda cursor: self._asked(
            self.address.page("/v1/failures", filters, cursor), FailurePage
        )

    def give_feedback(
        self,
        catalog: str,
        ad_id: str,
        feedback: Mapping[str, str],
        idempotency_key: str | None,
    ) -> Plan[FeedbackOut]:
        """What is right, by whom."""
        call = self.address.give_feedback(
            catalog, ad_id, feedback, idempotency_key=_once(idempotency_key)
        )
        return self._asked(call, FeedbackOut)

    def photo(self, sha256: str, thumbnail: bool) -> Plan[bytes]:
        """The stored photo's bytes."""
        answer = yield from persist(self.address.photo(sha256, thumbnail=thumbnail), self.policy)
        return answer.content

    def upload_photo(self, photo: Photo) -> Plan[UploadOut]:
        """Bytes that ads may name by their SHA-256 from now on."""
        return self._asked(self.address.upload_photo(photo), UploadOut)

    def statistics(self, minutes: int) -> Plan[StatisticsOut]:
        """What happened, and how things stand."""
        call = self.address.call("GET", "/v1/statistics", params=query(minutes=minutes))
        return self._asked(call, StatisticsOut)

    def _asked(self, call: Call, model: type[Model]) -> Plan[Model]:
        answer = yield from persist(call, self.policy)
        return _read(answer, model)


Page = TypeVar("Page", AdPage, FailurePage)
Pages = Callable[[str | None], Plan[Page]]
"""The plan of the page at a cursor; None is the first."""


def _once(idempotency_key: str | None) -> str:
    """One key for every attempt of one call."""
    return uuid.uuid4().hex if idempotency_key is None else idempotency_key


def _read(answer: httpx.Response, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise unreadable(answer, f"{where or 'body'}: {first['msg']}") from error


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError as error:
        raise unreadable(answer, "no JSON") from error
    if not isinstance(body, dict):
        raise unreadable(answer, f"JSON {type(body).__name__}, expected an object")
    return body


def _how(ad: AdOut) -> str:
    waiting = "" if ad.waiting is None else f", revision {ad.waiting.revision} waits"
    return f"revision {ad.revision} is {ad.status}{waiting}"
