"""The ads that a place is fed with: those that are counted, and those that warm it up."""

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
    """The same ads at every call: the baseline keeps nothing where ours could find it."""
    return plan_ads(
        ads=bench.ads,
        photos_per_ad=bench.photos_per_ad,
        rate=bench.load_rate,
        names=place.names,
    )


def warm_ads(place: Place) -> list[PlannedAd]:
    """Ads over photos that nothing else uses, others at every call."""
    wanted = WARM_ADS * PHOTOS_PER_WARM_AD
    names = [place.warm_names.pop() for _ in range(wanted)]
    ads = plan_ads(ads=WARM_ADS, photos_per_ad=PHOTOS_PER_WARM_AD, rate=WARM_RATE, names=names)
    return [PlannedAd(f"warm-{ad.ad_id}", ad.photos, ad.due_s) for ad in ads]


def ready_load(place: Place, ads: list[PlannedAd], *, topic: str, catalog: str) -> Worker:
    """A load generator that waits for its "go"."""
    return start_load(
        ads,
        environment=place.stack.exports,
        topic=topic,
        catalog=catalog,
        host=place.host,
        log_file=place.home / "logs" / "load.log",
    )


STALLED_S = 90.0


LOOK_S = 0.25


def warm_sessions(
    bench: StreamBench, place: Place, sessions: Sessions, on_progress: Progress
) -> int:
    """A few ads that are not counted; then every session that was asked for is there: how many."""
    catalog = f"warm-{uuid.uuid4().hex[:8]}"
    ads = warm_ads(place)
    with ready_load(place, ads, topic=place.settings.ads_topic, catalog=catalog) as load:
        load.go()
        follow(
            lambda: count_done(place.database, catalog),
            len(ads),
            lambda n: on_progress("warming the session", n, len(ads)),
            check=place.stack.check,
        )
    return len(sessions.wait(bench.session_count, check=place.stack.check))


def follow(
    done: Callable[[], int],
    total: int,
    on_progress: Callable[[int], object],
    *,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Until all are done, or nothing has moved for STALLED_S: what is missing then is lost."""
    seen, moved_at = -1, time.monotonic()
    while seen < total and time.monotonic() - moved_at < STALLED_S:
        now = done()
        if now != seen:
            seen, moved_at = now, time.monotonic()
            on_progress(seen)
        check()
        if seen < total:
            time.sleep(LOOK_S)
    if seen == 0:
        raise LalafoError(f"not one of {total} ads was committed in {STALLED_S:.0f} s")
