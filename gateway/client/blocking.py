"""The blocking client: runs the plans of `plans.py` with sleeps."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import httpx

from gateway.client.base import (
    PAGE_ROWS,
    PATIENCE_S,
    TIMEOUT_S,
    WITHIN_S,
    BaseClient,
    request_headers,
)
from gateway.client.calls import Address, Call, Photo, judgement, query
from gateway.client.filters import AdFilters, SimilarFilters
from gateway.client.frames import DELETED, frame, require_pandas
from gateway.client.plans import Page, Pages, url_and_key
from gateway.client.retry import Outcome, Plan
from gateway.schemas.ads import Accepted, AdIn, AdOut, AdSummary, FailureOut, FeedbackOut, UploadOut
from gateway.schemas.duplicates import DuplicateFeedbackOut, DuplicatesPage
from gateway.schemas.history import HistoryOut
from gateway.schemas.notices import NoticeOut
from gateway.schemas.releases import LiveReleaseOut
from gateway.schemas.segments import MaskOut, SegmentsOut
from gateway.schemas.similar import SimilarPage
from gateway.schemas.statistics import StatisticsOut
from gateway.schemas.tasks import TaskOut
from ops.masks.cutout import CutOutFormat

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class LalafoClient(BaseClient):
    """A blocking client of a gateway's API. Threads may share an instance.

    Args:
        url: the gateway's URL; defaults to LALAFO_GATEWAY_URL.
        key: an API key; defaults to LALAFO_GATEWAY_KEY. "" sends no key.
        timeout_s: seconds that a request may take to connect, and between two reads of a response.
        patience_s: seconds during which a call is retried after no response, 429 or 5xx.
        transport: replaces the network in tests.

    Raises:
        ConfigurationError: no URL is given, or the URL or the key is not valid.

    Every method raises LalafoApiError or a subclass; see `gateway.client.errors`.

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
        url, key = url_and_key(url, key)
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
        """Close the connections."""
        self._http.close()

    def post_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo] = (),
        *,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Post an ad. When this returns, the ad is stored durably.

        Args:
            photos: photos to upload with the ad; they follow those that the ad names. Files are
                streamed.
            idempotency_key: defaults to a random key, which all attempts of the call share.

        Raises:
            Refused: the ad is not valid, or the revision was accepted with other content.

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
        """Post an ad, and return it with its predictions once it is committed.

        Raises:
            ScoringTimeout: the ad was accepted, but not scored within `within_s`. It will be
                scored later.

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
        """Wait until this revision of the ad, or a higher one, is committed, and return the ad.

        Raises:
            ScoringTimeout: it was not committed within `within_s`.

        >>> accepted = client.post_ad({"catalog": "doc", "ad_id": "3"}, photos=[photo])
        >>> client.wait_for("doc", "3", accepted.revision).status
        'scored'
        """
        return self._run(self._plans.wait_for(catalog, ad_id, revision, within_s))

    def get_ad(self, catalog: str, ad_id: str) -> AdOut:
        """Return an ad as it is committed, and its accepted revision that is not committed yet.

        Raises:
            NotFound: the ad does not exist.
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
        """Delete an ad. Lower revisions of it have no effect afterwards.

        >>> client.delete_ad("doc", "1").state
        'accepted'
        """
        return self._run(self._plans.delete_ad(catalog, ad_id, revision, idempotency_key))

    def ads(
        self,
        *,
        catalog: str | None = None,
        page_size: int | None = None,
        **filters: Unpack[AdFilters],
    ) -> Iterator[AdSummary]:
        """Iterate over committed ads, newest first. Pages are requested as they are needed.

        Args:
            filters: see `gateway.client.filters`.

        >>> ids = {ad.ad_id for ad in client.ads(catalog="doc", page_size=1)}
        >>> {"2", "3"} <= ids
        True
        >>> [ad.ad_id for ad in client.ads(catalog="doc", label="no such label")]
        []
        """
        parameters = query(catalog=catalog, limit=page_size, **filters)
        for page in self._pages(self._plans.ads(parameters)):
            yield from page.ads

    def similar(
        self,
        catalog: str,
        ad_id: str,
        *,
        within: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[SimilarFilters],
    ) -> SimilarPage:
        """Return the ads whose photos are most similar to those of an ad, the most similar first.

        Args:
            within: only ads of this catalog.
            cursor: `next` of the page before.
            filters: see `gateway.client.filters`.

        Raises:
            Refused: the ad has no usable photo or is not indexed yet, or no index is ready.

        >>> client.similar("doc", "2")
        Traceback (most recent call last):
        gateway.client.errors.Refused: 409 no_index: ...
        """
        parameters = query(within=within, limit=limit, cursor=cursor, **filters)
        return self._run(self._plans.similar(catalog, ad_id, parameters))

    def search(self, search: Mapping[str, Any]) -> SimilarPage:
        """Return the ads that are most similar to an ad, to a photo, or to a vector.

        Args:
            search: the fields of `gateway.schemas.similar.SearchIn`.

        >>> client.search({"vector": [1.0, 0.0], "limit": 5})
        Traceback (most recent call last):
        gateway.client.errors.Refused: 409 no_index: ...
        """
        return self._run(self._plans.search(search))

    def duplicates(
        self,
        catalog: str,
        ad_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DuplicatesPage:
        """Return the ads of the catalog that are the same as an ad, the most probable first.

        Args:
            cursor: `next` of the page before.

        Raises:
            NotFound: the ad does not exist.

        >>> client.duplicates("doc", "2").state
        'off'
        """
        parameters = query(limit=limit, cursor=cursor)
        return self._run(self._plans.duplicates(catalog, ad_id, parameters))

    def judge_duplicate(
        self, catalog: str, ad_id: str, other_id: str, *, same: bool, given_by: str | None = None
    ) -> DuplicateFeedbackOut:
        """Say whether two ads of a catalog are the same; it wins over every score.

        Args:
            given_by: who says so; None: the API key's name.

        Raises:
            NotFound: one of the ads does not exist.

        >>> client.judge_duplicate("doc", "2", "3", same=False, given_by="moderator-7").same
        False
        """
        feedback = judgement(catalog, other_id, same=same, given_by=given_by)
        return self._run(self._plans.judge_duplicate(catalog, ad_id, feedback))

    def search_by_photo(
        self,
        photo: Photo,
        *,
        within: str | None = None,
        limit: int | None = None,
        **filters: Unpack[SimilarFilters],
    ) -> SimilarPage:
        """Return the ads that are most similar to a photo that no ad needs to have.

        The photo is uploaded. For further pages, call `search` with the answer's `sha256`.

        Args:
            within: only ads of this catalog.
            filters: see `gateway.client.filters`.

        >>> client.search_by_photo(photo)
        Traceback (most recent call last):
        gateway.client.errors.Refused: 409 no_index: ...
        """
        parameters = query(within=within, limit=limit, **filters)
        return self._run(self._plans.search_by_photo(photo, parameters))

    def frame(
        self,
        *,
        catalog: str | None = None,
        limit: int | None = None,
        **filters: Unpack[AdFilters],
    ) -> "pd.DataFrame":
        """Return committed ads with their predictions as a pandas DataFrame, newest first.

        The columns are those of `lalafo export`: of the ad, and of each task of the live release
        (`category.label`, `category.score`, …). Whole catalogues are exported faster. Deleted ads
        are left out, unless `status` asks for them.

        Args:
            limit: the most rows; None: all ads that match.
            filters: see `gateway.client.filters`.

        Raises:
            ConfigurationError: pandas is not installed.

        >>> found = client.frame(catalog="doc", status="scored", limit=2)
        >>> found[["catalog", "ad_id"]].values.tolist()
        [['doc', '3'], ['doc', '2']]
        """
        require_pandas()
        tasks = self.tasks()
        size = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)
        parameters = query(catalog=catalog, limit=max(size, 1), details=True, **filters)
        pages = self._pages(self._plans.ads(parameters))
        is_asked_for = filters.get("status") == DELETED
        found = (ad for page in pages for ad in page.ads if is_asked_for or ad.status != DELETED)
        return frame(islice(found, limit), tasks)

    def failures(
        self,
        *,
        catalog: str | None = None,
        kind: str | None = None,
        reason: str | None = None,
        page_size: int | None = None,
    ) -> Iterator[FailureOut]:
        """Iterate over events and photos that could not be processed, newest first.

        Pages are requested as they are needed.

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
        """Give the correct label of an ad; the next release is trained with it.

        >>> client.give_feedback("doc", "2", "chair", given_by="moderator-7").label
        'chair'
        """
        feedback = {"task": task, "label": label, "given_by": given_by}
        return self._run(self._plans.give_feedback(catalog, ad_id, feedback, idempotency_key))

    def upload_photo(self, photo: Photo) -> UploadOut:
        """Upload a photo, which ads can then name by its SHA-256.

        >>> import hashlib
        >>> client.upload_photo(photo).sha256 == hashlib.sha256(photo).hexdigest()
        True
        """
        return self._run(self._plans.upload_photo(photo))

    def photo(self, sha256: str, *, thumbnail: bool = False) -> bytes:
        """Return a stored photo: an upright JPEG with a longest side of at most 640 pixels.

        Args:
            sha256: of the original photo's bytes, in hexadecimal.
            thumbnail: return the thumbnail, if there is one already.

        Raises:
            NotFound: no ad that the key may read has the photo. An upload is available once an ad
                with it is scored.

        >>> client.photo(client.get_ad("doc", "2").photos[0].sha256)[:3]
        b'\\xff\\xd8\\xff'
        """
        return self._run(self._plans.photo(sha256, thumbnail))

    def segments(self, sha256: str) -> SegmentsOut:
        """Return the goods in a photo: their mask under the live release, and separate things.

        Args:
            sha256: of the original photo's bytes, in hexadecimal.

        Raises:
            NotFound: no ad that the key may read has the photo, or it has no mask yet.

        >>> client.segments("0" * 64)
        Traceback (most recent call last):
        gateway.client.errors.NotFound: ...
        """
        return self._run(self._plans.segments(sha256))

    def cutout(
        self, sha256: str, *, image_format: CutOutFormat = "webp", trimmed: bool = False
    ) -> bytes:
        """Return a photo with a transparent background.

        Args:
            sha256: of the original photo's bytes, in hexadecimal.
            trimmed: crop it to the goods, with a small margin.

        Raises:
            NotFound: as for `segments`, or no goods were found in the photo.

        >>> client.cutout("0" * 64, image_format="png")
        Traceback (most recent call last):
        gateway.client.errors.NotFound: ...
        """
        return self._run(self._plans.cutout(sha256, image_format, trimmed))

    def give_mask(self, sha256: str, mask: Photo, *, given_by: str | None = None) -> MaskOut:
        """Store which pixels of a photo are goods; the gate judges releases by it.

        Args:
            mask: a PNG with the photo's proportions, white inside and black outside.
            given_by: who drew it; None: the API key's name.

        Raises:
            NotFound: no ad that the key may read has the photo.
            Refused: the picture is no mask of the photo.

        >>> client.give_mask(client.get_ad("doc", "2").photos[0].sha256, b"no picture")
        Traceback (most recent call last):
        gateway.client.errors.Refused: 422 not_a_mask: ...
        """
        return self._run(self._plans.give_mask(sha256, mask, given_by))

    def statistics(self, *, minutes: int = 60) -> StatisticsOut:
        """Return the statistics of the last minutes. Requires a key for all catalogs.

        >>> client.statistics(minutes=5).minutes
        5
        """
        return self._run(self._plans.statistics(minutes))

    def history(self, *, minutes: int = 60) -> HistoryOut:
        """Return what changed or broke in the last minutes. Requires a key for all catalogs.

        >>> "installed" in [change.kind for change in client.history().changes]
        True
        """
        return self._run(self._plans.history(minutes))

    def live_release(self) -> LiveReleaseOut:
        """Return the live release, and the labels that it can predict by task.

        >>> "chair" in client.live_release().labels["category"]
        True
        """
        return self._run(self._plans.live_release())

    def tasks(self) -> list[TaskOut]:
        """Return the installed tasks, each with the JSON Schema of its answer.

        >>> all("properties" in task.answer for task in client.tasks())
        True
        """
        return self._run(self._plans.tasks()).root

    def notices(self) -> list[NoticeOut]:
        """Return what a person should know about the stack, the most severe first; [] if all is
        well.

        >>> [notice.code for notice in client.notices()]
        []
        """
        return self._run(self._plans.notices()).notices

    def _pages(self, pages: Pages[Page]) -> Iterator[Page]:
        cursor: str | None = None
        while True:
            page = self._run(pages(cursor))
            yield page
            if (cursor := page.next) is None:
                return

    def _run(self, plan: Plan[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = None
            if isinstance(step, Call):
                outcome = self._send(step)
            else:
                time.sleep(step.seconds)

    def _send(self, call: Call) -> Outcome:
        with call.opened() as arguments:
            try:
                return self._http.request(**arguments)
            except httpx.RequestError as error:
                return error
