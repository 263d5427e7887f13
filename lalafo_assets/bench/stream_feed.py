"""The ads that a place is fed with: those that are counted, and those that warm it up."""

from lalafo_assets.bench.stream_ads import PlannedAd, plan_ads
from lalafo_assets.bench.stream_load import start_load
from lalafo_assets.bench.stream_options import WARM_ADS, StreamBench
from lalafo_assets.bench.stream_place import PHOTOS_PER_WARM_AD, Place
from lalafo_assets.bench.workers import Worker

WARM_RATE = 8.0


def counted_ads(bench: StreamBench, place: Place) -> list[PlannedAd]:
    """The same ads at every call: the bare loop keeps nothing where ours could find it."""
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
