"""A session's reports to Dagster: a tally as materializations, observations and pictures.

Owns the metadata. Does not depend on how the session works. Every report has numbers; pictures are
rare and mostly links, since embedded images would make the event log grow quickly.
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

EMBEDDINGS_EVERY = 3
"""Embeddings and predictions are reported with every third report."""


def report_events(tally: Tally, *, over_s: float) -> Iterator[dg.AssetMaterialization]:
    """Yield the materialization of `ad_photos` for each day: counts, failures and latencies.

    Numbers worth a plot are entries of their own; the rest is one JSON entry, since each entry
    adds a hundred bytes to the event log every ten seconds.

    Args:
        over_s: seconds that the tally covers.
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


def embedding_events(tally: Tally) -> Iterator[dg.AssetMaterialization]:
    """Yield the materializations of `photo_embeddings` and the tasks' assets for each day."""
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
    """Yield an observation for each asset and day, with its pictures as links or embedded images.

    Args:
        images: the pictures to embed, by link. The event log stores each in full, so a session
            embeds its first set of pictures and links the others.
    """
    by_partition: dict[tuple[str, str], Metadata] = {}
    for picture in pictures:
        link, image = picture.link, images.get(picture.link)
        value: dg.MetadataValue
        if image is not None:
            value = dg.MetadataValue.md(as_markdown(image))
        elif "://" in link:
            value = dg.MetadataValue.url(link)
        else:
            value = dg.MetadataValue.path(link)
        by_partition.setdefault((picture.asset, picture.day), {})[picture.name] = value
    for (asset, day), metadata in by_partition.items():
        key = dg.AssetKey(asset) if asset else ADS_TOPIC
        yield dg.AssetObservation(key, partition=day or None, metadata=metadata)


def summary(tally: Tally) -> str:
    """Return a tally as one line for a run's log."""
    p50, p99 = tally.latency_ms(50), tally.latency_ms(99)
    latency = "" if p50 is None else f"; p50 {p50:,.0f} ms, p99 {p99:,.0f} ms to committed row"
    if tally.waited_for_session:
        latency += f"; {tally.waited_for_session} ads waited for this session's start"
    return (
        f"{tally.events} events = {tally.written} ads written + {tally.unchanged} unchanged + "
        f"{sum(tally.dead_letters.values())} dead letters; {tally.photos} photos, "
        f"{tally.photos_failed} of them failed{latency}"
    )


def report_interval_s(base_s: float, *, sessions: int) -> float:
    """Return the seconds between two reports of one session.

    The interval grows with the number of sessions and tasks, so that all sessions together write as
    many events as one session with one task that reports every `base_s`.
    """
    events_a_report = (
        2 + (1 + len(all_tasks())) / EMBEDDINGS_EVERY
    )  # a log line and ad_photos; the rest
    return base_s * sessions * events_a_report / (2 + 2 / EMBEDDINGS_EVERY)


def _details(tally: Tally) -> dict[str, object]:
    """Return the counts that need no plot, without the empty ones."""
    offsets = {str(p): f"{first} to {following}" for p, (first, following) in tally.offsets.items()}
    details: dict[str, object] = {
        "releases": sorted(tally.releases),
        "offsets_by_partition": offsets,
        "events": tally.events,
        "commits": tally.batches,
        "ads_by_status": dict(tally.statuses),
        "unchanged": tally.unchanged,
        "photo_failures": dict(tally.photo_failures),
        "dead_letters": dict(tally.dead_letters),
        "untrusted_timestamps": tally.untrusted_timestamps,
        "waited_for_session": tally.waited_for_session,
    }
    return {name: value for name, value in details.items() if value}


def _latency_metadata(tally: Tally) -> Metadata:
    p50, p99 = tally.latency_ms(50), tally.latency_ms(99)
    if p50 is None or p99 is None:
        return {}
    return {
        "latency_p50_ms": dg.MetadataValue.float(round(p50, 1)),
        "latency_p99_ms": dg.MetadataValue.float(round(p99, 1)),
    }
