"""The client that waits: runs the plans of `plans.py` with sleeps."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from gateway.client.base import PATIENCE_S, TIMEOUT_S, WITHIN_S, BaseClient, request_headers
from gateway.client.calls import Address, Call, Photo, ads_query, query
from gateway.client.plans import Page, Pages, given_or_set
from gateway.client.retry import Came, Plan
from gateway.schemas.ads import Accepted, AdIn, AdOut, AdSummary, FailureOut, FeedbackOut, UploadOut
from gateway.schemas.statistics import StatisticsOut

T = TypeVar("T")


class LalafoClient(BaseClient):
    """A gateway's API, for programs without an event loop. Threads may share one.

    Args:
        url: the gateway's address; LALAFO_GATEWAY_URL if not given.
        key: an API key; LALAFO_GATEWAY_KEY if not given, and "" sends none.
        timeout_s: of one request: for a connection, and between two pieces of an answer.
        patience_s: a call that may pass (no answer, 429, 5xx) is tried again for so long.
        transport: instead of the network, for tests.

    Raises:
        ConfigurationError: no address is known, or the address or the key can't be used.

    Every method raises LalafoApiError, or one of its kinds; `gateway.client.errors` draws them.

    >>> with LalafoClient(url, key=key) as one:
    ...     one.get_ad("doc", "nowhere")
    Traceback (most recent call last):
    gateway.client.errors.NotFound: ...
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url, key = given_or_set(url, key)
        super().__init__(Address(url, timeout_s), patience_s)
        self._http = httpx.Client(headers=request_headers(key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def post_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo] = (),
        *,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Hand an ad over; when this returns, it can't be lost.

        Args:
            photos: sent with it, after those that the ad names; files are streamed.
            idempotency_key: made for the call if not given; the same through all of its attempts.

        Raises:
            Refused: the ad is none, or its revision is taken by another content.

        >>> accepted = client.post_ad({"catalog": "doc", "ad_id": "1", "revision": 7})
        >>> accepted.state, accepted.revision
        ('accepted', 7)
        >>> client.post_ad({"catalog": "doc", "ad_id": "1", "revision": 6}).state
        'superseded'
        """
        return self._run(self._plans.post_ad(ad, photos, idempotency_key))

    def score_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo] = (),
        *,
        within_s: float = WITHIN_S,
        idempotency_key: str | None = None,
    ) -> AdOut:
        """`post_ad`, and what the ad's photos show as soon as it is committed.

        Raises:
            Late: it is accepted, and was not scored within `within_s`; nothing is lost.

        >>> ad = client.score_ad({"catalog": "doc", "ad_id": "2"}, photos=[photo])
        >>> ad.status, [found.status for found in ad.photos]
        ('scored', ['ok'])
        >>> 0 < ad.predictions["category"].score <= 1
        True
        """
        return self._run(self._plans.score_ad(ad, photos, within_s, idempotency_key))

    def wait_for(
        self, catalog: str, ad_id: str, revision: int, *, within_s: float = WITHIN_S
    ) -> AdOut:
        """The ad, once this revision of it (or a higher one) is committed.

        Raises:
            Late: it is not, after `within_s`.

        >>> accepted = client.post_ad({"catalog": "doc", "ad_id": "3"}, photos=[photo])
        >>> client.wait_for("doc", "3", accepted.revision).status
        'scored'
        """
        return self._run(self._plans.wait_for(catalog, ad_id, revision, within_s))

    def get_ad(self, catalog: str, ad_id: str) -> AdOut:
        """Everything known of an ad: the best of what is committed, and what is still waiting.

        Raises:
            NotFound: nothing is known of it.
        """
        return self._run(self._plans.get_ad(catalog, ad_id))

    def delete_ad(
        self,
        catalog: str,
        ad_id: str,
        *,
        revision: int | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Delete an ad; lower revisions of it change nothing any more.

        >>> client.delete_ad("doc", "1").state
        'accepted'
        """
        return self._run(self._plans.delete_ad(catalog, ad_id, revision, idempotency_key))

    def ads(
        self,
        *,
        catalog: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[AdSummary]:
        """Committed ads, the latest first; a page is asked for when the one before is used up.

        Args:
            since: received then or later; with a time zone, as `until` is.
            until: received before.

        >>> ids = {ad.ad_id for ad in client.ads(catalog="doc", page_size=1)}
        >>> {"2", "3"} <= ids
        True
        """
        filters = ads_query(catalog, status, since, until, page_size)
        for page in self._pages(self._plans.ads(filters)):
            yield from page.ads

    def failures(
        self,
        *,
        catalog: str | None = None,
        kind: str | None = None,
        reason: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[FailureOut]:
        """Events and photos that could not be used, the latest first; pages as `ads` does.

        >>> [failure.reason for failure in client.failures(catalog="doc")]
        []
        """
        filters = query(catalog=catalog, kind=kind, reason=reason, limit=page_size)
        for page in self._pages(self._plans.failures(filters)):
            yield from page.failures

    def give_feedback(
        self,
        catalog: str,
        ad_id: str,
        label: str,
        *,
        given_by: str,
        task: str = "category",
        idempotency_key: str | None = None,
    ) -> FeedbackOut:
        """Say what is right; the next release learns from it.

        >>> client.give_feedback("doc", "2", "chair", given_by="moderator-7").label
        'chair'
        """
        feedback = {"task": task, "label": label, "given_by": given_by}
        return self._run(self._plans.give_feedback(catalog, ad_id, feedback, idempotency_key))

    def upload_photo(self, photo: Photo) -> UploadOut:
        """Send a photo that ads name by its SHA-256 afterwards.

        >>> import hashlib
        >>> client.upload_photo(photo).sha256 == hashlib.sha256(photo).hexdigest()
        True
        """
        return self._run(self._plans.upload_photo(photo))

    def photo(self, sha256: str, *, thumbnail: bool = False) -> bytes:
        """The stored photo of a SHA-256 (hex): an upright JPEG, its longest side at most 640.

        Args:
            thumbnail: a small one, where there is one already.

        Raises:
            NotFound: no ad that the key may see shows it; an upload must be scored first.

        >>> client.photo(client.get_ad("doc", "2").photos[0].sha256)[:3]
        b'\\xff\\xd8\\xff'
        """
        return self._run(self._plans.photo(sha256, thumbnail))

    def statistics(self, *, minutes: int = 60) -> StatisticsOut:
        """What happened in the last minutes, and how things stand; for keys of every catalog.

        >>> client.statistics(minutes=5).minutes
        5
        """
        return self._run(self._plans.statistics(minutes))

    def _pages(self, pages: Pages[Page]) -> Iterator[Page]:
        cursor: str | None = None
        while True:
            page = self._run(pages(cursor))
            yield page
            if (cursor := page.next) is None:
                return

    def _run(self, plan: Plan[T]) -> T:
        came: Came = None
        while True:
            try:
                step = plan.send(came)
            except StopIteration as end:
                found: T = end.value
                return found
            came = None
            if isinstance(step, Call):
                came = self._send(step)
            else:
                time.sleep(step.seconds)

    def _send(self, call: Call) -> Came:
        with call.opened() as arguments:
            try:
                return self._http.request(**arguments)
            except httpx.RequestError as error:
                return error
