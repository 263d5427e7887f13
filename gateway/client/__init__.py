"""The Python client: `LalafoClient`, and `AsyncLalafoClient` for asyncio.

    from gateway.client import LalafoClient

    with LalafoClient("https://vision.example", key="lv_…") as client:
        ad = client.score_ad({"catalog": "kg", "ad_id": "42"}, photos=[Path("chair.jpg")])
        print(ad.predictions["category"].label)

Both clients run the same plans: `calls` builds requests, `plans` reads responses, `retry` has the
retry policy, and `errors` the exceptions. The clients only do the I/O. The only packages that they
need are httpx and pydantic.
"""

from gateway.client.asynchronous import AsyncLalafoClient
from gateway.client.blocking import LalafoClient
from gateway.client.errors import (
    LalafoApiError,
    NotAllowed,
    NotFound,
    RateLimited,
    Refused,
    ScoringTimeout,
    ServiceUnavailable,
)
from gateway.schemas.ads import (
    Accepted,
    AdIn,
    AdOut,
    AdSummary,
    FailureOut,
    FeedbackOut,
    PhotoIn,
    UploadOut,
)
from gateway.schemas.notices import NoticeOut
from gateway.schemas.statistics import StatisticsOut

__all__ = [
    "Accepted",
    "AdIn",
    "AdOut",
    "AdSummary",
    "AsyncLalafoClient",
    "FailureOut",
    "FeedbackOut",
    "LalafoApiError",
    "LalafoClient",
    "NotAllowed",
    "NotFound",
    "NoticeOut",
    "PhotoIn",
    "RateLimited",
    "Refused",
    "ScoringTimeout",
    "ServiceUnavailable",
    "StatisticsOut",
    "UploadOut",
]
