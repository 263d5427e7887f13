"""Sends ads to a running stack: the ads that are measured, and the warm-up before them."""

import time
import uuid
from collections.abc import Callable

from lalafo_assets.bench.harness.ads import PlannedAd, plan_ads
from lalafo_assets.bench.harness.load import start_load
from lalafo_assets.bench.harness.options import WARM_ADS, StreamBench
from lalafo_assets.bench.harness.place import PHOTOS_PER_WARM_AD, Place, Progress
from lalafo_assets.bench.harness.sessions import Sessions, count_done
from lalafo_assets.bench.harness.workers import Worker
from ops.errors import LalafoError

WARM_RATE = 8.0


def counted_ads(bench: StreamBench, place: Place) -> list[PlannedAd]:
    """The ads that are measured, the same at every call.

    The baseline stores them elsewhere, so that the session can't reuse its results.
    """
    return plan_ads(
        ads=bench.ads,
        photos_per_ad=bench.photos_per_ad,
        rate=bench.load_rate,
        names=place.names,
    )


def warm_ads(place: Place) -> list[PlannedAd]:
    """Ads for a warm-up, with photos that nothing else uses; different ones at every call."""
    count = WARM_ADS * PHOTOS_PER_WARM_AD
    names = [place.warm_names.pop() for _ in range(count)]
    ads = plan_ads(ads=WARM_ADS, photos_per_ad=PHOTOS_PER_WARM_AD, rate=WARM_RATE, names=names)
    return [PlannedAd(f"warm-{ad.ad_id}", ad.photos, ad.due_s) for ad in ads]


def prepare_load(place: Place, ads: list[PlannedAd], *, topic: str, catalog: str) -> Worker:
    """Start a load generator that waits for `Worker.go`."""
    return start_load(
        ads,
        environment=place.stack.exports,
        topic=topic,
        catalog=catalog,
        host=place.host,
        log_file=place.home / "logs" / "load.log",
    )


STALLED_S = 90.0


POLL_S = 0.25


def warm_sessions(
    bench: StreamBench, place: Place, sessions: Sessions, on_progress: Progress
) -> int:
    """Send a few ads that are not measured, then wait for `bench.session_count` ready sessions.

    Returns:
        How many sessions are ready.
    """
    catalog = f"warm-{uuid.uuid4().hex[:8]}"
    ads = warm_ads(place)
    with prepare_load(place, ads, topic=place.settings.ads_topic, catalog=catalog) as load:
        load.go()
        wait_until_done(
            lambda: count_done(place.database, catalog),
            len(ads),
            lambda n: on_progress("warming the session", n, len(ads)),
            check=place.stack.check,
        )
    return len(sessions.wait(bench.session_count, check=place.stack.check))


def wait_until_done(
    done: Callable[[], int],
    total: int,
    on_progress: Callable[[int], object],
    *,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Wait until all ads are done, or until the count has not changed for STALLED_S.

    Ads that are not done then count as lost.

    Raises:
        LalafoError: no ad was done within STALLED_S.
    """
    count, changed_at = -1, time.monotonic()
    while count < total and time.monotonic() - changed_at < STALLED_S:
        now = done()
        if now != count:
            count, changed_at = now, time.monotonic()
            on_progress(count)
        check()
        if count < total:
            time.sleep(POLL_S)
    if count == 0:
        raise LalafoError(f"none of {total} ads was committed within {STALLED_S:.0f} s")
