"""The client for asyncio: runs the plans of `plans.py` with awaits.

`blocking.py` documents the methods.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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


class AsyncLalafoClient(BaseClient):
    """`LalafoClient` for asyncio: the same methods with `await`, and `async for` over lists.

    async with AsyncLalafoClient("https://vision.example", key="lv_…") as client:
        await client.post_ad({"catalog": "kg", "ad_id": "42"})
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url, key = url_and_key(url, key)
        super().__init__(Address(url, timeout_s), patience_s)
        self._http = httpx.AsyncClient(headers=request_headers(key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo] = (),
        *,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """See `LalafoClient.post_ad`."""
        return await self._run(self._plans.post_ad(ad, photos, idempotency_key))

    async def score_ad(
        self,
        ad: AdIn | Mapping[str, Any],
        photos: Sequence[Photo] = (),
        *,
        within_s: float = WITHIN_S,
        idempotency_key: str | None = None,
    ) -> AdOut:
        """See `LalafoClient.score_ad`."""
        return await self._run(self._plans.score_ad(ad, photos, within_s, idempotency_key))

    async def wait_for(
        self, catalog: str, ad_id: str, revision: int, *, within_s: float = WITHIN_S
    ) -> AdOut:
        """See `LalafoClient.wait_for`."""
        return await self._run(self._plans.wait_for(catalog, ad_id, revision, within_s))

    async def get_ad(self, catalog: str, ad_id: str) -> AdOut:
        """See `LalafoClient.get_ad`."""
        return await self._run(self._plans.get_ad(catalog, ad_id))

    async def delete_ad(
        self,
        catalog: str,
        ad_id: str,
        *,
        revision: int | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """See `LalafoClient.delete_ad`."""
        return await self._run(self._plans.delete_ad(catalog, ad_id, revision, idempotency_key))

    async def ads(
        self,
        *,
        catalog: str | None = None,
        page_size: int | None = None,
        **filters: Unpack[AdFilters],
    ) -> AsyncIterator[AdSummary]:
        """See `LalafoClient.ads`."""
        parameters = query(catalog=catalog, limit=page_size, **filters)
        async for page in self._pages(self._plans.ads(parameters)):
            for ad in page.ads:
                yield ad

    async def similar(
        self,
        catalog: str,
        ad_id: str,
        *,
        within: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[SimilarFilters],
    ) -> SimilarPage:
        """See `LalafoClient.similar`."""
        parameters = query(within=within, limit=limit, cursor=cursor, **filters)
        return await self._run(self._plans.similar(catalog, ad_id, parameters))

    async def duplicates(
        self,
        catalog: str,
        ad_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DuplicatesPage:
        """See `LalafoClient.duplicates`."""
        parameters = query(limit=limit, cursor=cursor)
        return await self._run(self._plans.duplicates(catalog, ad_id, parameters))

    async def judge_duplicate(
        self, catalog: str, ad_id: str, other_id: str, *, same: bool, given_by: str | None = None
    ) -> DuplicateFeedbackOut:
        """See `LalafoClient.judge_duplicate`."""
        feedback = judgement(catalog, other_id, same=same, given_by=given_by)
        return await self._run(self._plans.judge_duplicate(catalog, ad_id, feedback))

    async def search(self, search: Mapping[str, Any]) -> SimilarPage:
        """See `LalafoClient.search`."""
        return await self._run(self._plans.search(search))

    async def search_by_photo(
        self,
        photo: Photo,
        *,
        within: str | None = None,
        limit: int | None = None,
        **filters: Unpack[SimilarFilters],
    ) -> SimilarPage:
        """See `LalafoClient.search_by_photo`."""
        parameters = query(within=within, limit=limit, **filters)
        return await self._run(self._plans.search_by_photo(photo, parameters))

    async def frame(
        self,
        *,
        catalog: str | None = None,
        limit: int | None = None,
        **filters: Unpack[AdFilters],
    ) -> "pd.DataFrame":
        """See `LalafoClient.frame`."""
        require_pandas()
        tasks = await self.tasks()
        size = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)
        parameters = query(catalog=catalog, limit=max(size, 1), details=True, **filters)
        is_asked_for = filters.get("status") == DELETED
        found: list[AdSummary] = []
        async for page in self._pages(self._plans.ads(parameters)):
            found.extend(ad for ad in page.ads if is_asked_for or ad.status != DELETED)
            if limit is not None and len(found) >= limit:
                break
        return frame(found[:limit], tasks)

    async def failures(
        self,
        *,
        catalog: str | None = None,
        kind: str | None = None,
        reason: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[FailureOut]:
        """See `LalafoClient.failures`."""
        filters = query(catalog=catalog, kind=kind, reason=reason, limit=page_size)
        async for page in self._pages(self._plans.failures(filters)):
            for failure in page.failures:
                yield failure

    async def give_feedback(
        self,
        catalog: str,
        ad_id: str,
        label: str,
        *,
        given_by: str,
        task: str = "category",
        idempotency_key: str | None = None,
    ) -> FeedbackOut:
        """See `LalafoClient.give_feedback`."""
        feedback = {"task": task, "label": label, "given_by": given_by}
        return await self._run(self._plans.give_feedback(catalog, ad_id, feedback, idempotency_key))

    async def upload_photo(self, photo: Photo) -> UploadOut:
        """See `LalafoClient.upload_photo`."""
        return await self._run(self._plans.upload_photo(photo))

    async def photo(self, sha256: str, *, thumbnail: bool = False) -> bytes:
        """See `LalafoClient.photo`."""
        return await self._run(self._plans.photo(sha256, thumbnail))

    async def segments(self, sha256: str) -> SegmentsOut:
        """See `LalafoClient.segments`."""
        return await self._run(self._plans.segments(sha256))

    async def cutout(
        self, sha256: str, *, image_format: CutOutFormat = "webp", trimmed: bool = False
    ) -> bytes:
        """See `LalafoClient.cutout`."""
        return await self._run(self._plans.cutout(sha256, image_format, trimmed))

    async def give_mask(self, sha256: str, mask: Photo, *, given_by: str | None = None) -> MaskOut:
        """See `LalafoClient.give_mask`."""
        return await self._run(self._plans.give_mask(sha256, mask, given_by))

    async def statistics(self, *, minutes: int = 60) -> StatisticsOut:
        """See `LalafoClient.statistics`."""
        return await self._run(self._plans.statistics(minutes))

    async def history(self, *, minutes: int = 60) -> HistoryOut:
        """See `LalafoClient.history`."""
        return await self._run(self._plans.history(minutes))

    async def tasks(self) -> list[TaskOut]:
        """See `LalafoClient.tasks`."""
        return (await self._run(self._plans.tasks())).root

    async def live_release(self) -> LiveReleaseOut:
        """See `LalafoClient.live_release`."""
        return await self._run(self._plans.live_release())

    async def notices(self) -> list[NoticeOut]:
        """See `LalafoClient.notices`."""
        return (await self._run(self._plans.notices())).notices

    async def _pages(self, pages: Pages[Page]) -> AsyncIterator[Page]:
        cursor: str | None = None
        while True:
            page = await self._run(pages(cursor))
            yield page
            if (cursor := page.next) is None:
                return

    async def _run(self, plan: Plan[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = None
            if isinstance(step, Call):
                outcome = await self._send(step)
            else:
                await asyncio.sleep(step.seconds)

    async def _send(self, call: Call) -> Outcome:
        with call.opened() as arguments:
            try:
                return await self._http.request(**arguments)
            except httpx.RequestError as error:
                return error
