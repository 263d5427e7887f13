"""What a session tells Dagster: a tally as materialisations, observations and pictures.

Decides the metadata; knows nothing of how the session works. Numbers go out with every report;
pictures rarely, and mostly as links: an event log that grows by pictures is no log.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.session.pictures import Picture
from ops.pictures.previews import as_markdown
from ops.session.tally import Tally
from ops.tasks import all_tasks
from resources.dagster.names import AD_PHOTOS, ADS_TOPIC, PHOTO_EMBEDDINGS

TOP_LABELS = 8


REST_EVERY = 3
"""Reports: what follows from the photos is told with every third one."""


def report_events(tally: Tally, *, over_s: float) -> Iterator[dg.AssetMaterialization]:
    """`ad_photos` of each day: what was read, what became of it, and how fast.

    Few numbers, those worth a plot, and the rest as one JSON: each entry of metadata costs a
    hundred bytes of log, every ten seconds, for ever.

    Args:
        over_s: how long the tally took.
    """
    for day in sorted(tally.days):
        metadata: Metadata = {
            "ads": dg.MetadataValue.int(tally.days[day]),
            "ads_per_s": dg.MetadataValue.float(round(tally.written / max(over_s, 1e-3), 2)),
            "photos": dg.MetadataValue.int(tally.photos),
            "photos_failed": dg.MetadataValue.int(tally.photos_failed),
            **_latency_metadata(tally),
            "details": dg.MetadataValue.json(_details(tally)),
        }
        yield dg.AssetMaterialization(AD_PHOTOS, partition=day.isoformat(), metadata=metadata)


def rest_events(tally: Tally) -> Iterator[dg.AssetMaterialization]:
    """`photo_embeddings` and the tasks' assets of each day."""
    embedded: Metadata = {"photos_embedded": dg.MetadataValue.int(tally.embedded)}
    predicted: Metadata = {
        "predictions": dg.MetadataValue.int(tally.predictions),
        "top_labels": dg.MetadataValue.json(dict(tally.categories.most_common(TOP_LABELS))),
    }
    by_asset = {PHOTO_EMBEDDINGS: embedded} | {
        dg.AssetKey(task.asset_name): predicted for task in all_tasks()
    }
    for day in sorted(tally.days):
        for key, metadata in by_asset.items():
            yield dg.AssetMaterialization(key, partition=day.isoformat(), metadata=metadata)


def picture_events(
    pictures: Sequence[Picture], images: Mapping[str, bytes]
) -> Iterator[dg.AssetObservation]:
    """An observation an asset and day: links to its pictures, or the pictures themselves.

    Args:
        images: by link; those that are shown at once. Each goes into the event log whole, so a
            session shows its first and its last, and links the others.
    """
    by_place: dict[tuple[str, str], Metadata] = {}
    for picture in pictures:
        link, image = picture.link, images.get(picture.link)
        value: dg.MetadataValue
        if image is not None:
            value = dg.MetadataValue.md(as_markdown(image))
        elif "://" in link:
            value = dg.MetadataValue.url(link)
        else:
            value = dg.MetadataValue.path(link)
        by_place.setdefault((picture.asset, picture.day), {})[picture.name] = value
    for (asset, day), metadata in by_place.items():
        key = dg.AssetKey(asset) if asset else ADS_TOPIC
        yield dg.AssetObservation(key, partition=day or None, metadata=metadata)


def summary(tally: Tally) -> str:
    """A tally in one line, for a run's log."""
    p50, p99 = tally.latency_ms(50), tally.latency_ms(99)
    latency = "" if p50 is None else f"; p50 {p50:,.0f} ms, p99 {p99:,.0f} ms to committed row"
    return (
        f"{tally.events} events = {tally.written} ads written + {tally.unchanged} unchanged + "
        f"{sum(tally.dead_letters.values())} dead letters; {tally.photos} photos, "
        f"{tally.photos_failed} of them failed{latency}"
    )


def report_interval_s(wanted_s: float, *, sessions: int) -> float:
    """How long between the reports of one session, so that all together, whatever their number and
    that of the tasks, write as much as one session with one task does."""
    events_a_report = 2 + (1 + len(all_tasks())) / REST_EVERY  # a log line and ad_photos; the rest
    return wanted_s * sessions * events_a_report / (2 + 2 / REST_EVERY)


def _details(tally: Tally) -> dict[str, object]:
    """What is looked up rather than plotted; nothing that is empty."""
    offsets = {str(p): f"{first} to {following}" for p, (first, following) in tally.offsets.items()}
    found: dict[str, object] = {
        "releases": sorted(tally.releases),
        "offsets_by_partition": offsets,
        "events": tally.events,
        "commits": tally.batches,
        "ads_by_status": dict(tally.statuses),
        "unchanged": tally.unchanged,
        "photo_failures": dict(tally.photo_failures),
        "dead_letters": dict(tally.dead_letters),
        "untrusted_timestamps": tally.untrusted_timestamps,
    }
    return {name: value for name, value in found.items() if value}


def _latency_metadata(tally: Tally) -> Metadata:
    p50, p99 = tally.latency_ms(50), tally.latency_ms(99)
    if p50 is None or p99 is None:
        return {}
    return {
        "latency_p50_ms": dg.MetadataValue.float(round(p50, 1)),
        "latency_p99_ms": dg.MetadataValue.float(round(p99, 1)),
    }
