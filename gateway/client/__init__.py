"""The Python client: `LalafoClient`, and `AsyncLalafoClient`, its twin for an event loop.

    from gateway.client import LalafoClient

    with LalafoClient("https://vision.example", key="lv_…") as client:
        ad = client.score_ad({"catalog": "kg", "ad_id": "42"}, photos=[Path("chair.jpg")])
        print(ad.predictions["category"].label)

Decides nothing: what a call asks, how its answer is read and when it is tried again is in
`plans`, `calls` and `retry`; each twin runs those plans, one with sleeps, one
with awaits. Needs httpx and pydantic alone. Errors: `errors`.
"""

from gateway.client.asynchronous import AsyncLalafoClient
from gateway.client.blocking import LalafoClient
from gateway.client.errors import (
    LalafoApiError,
    Late,
    NotAllowed,
    NotFound,
    RateLimited,
    Refused,
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
    "Late",
    "NotAllowed",
    "NotFound",
    "PhotoIn",
    "RateLimited",
    "Refused",
    "ServiceUnavailable",
    "StatisticsOut",
    "UploadOut",
]
