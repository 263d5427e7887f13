"""A session's reports to Dagster: a tally as observations, materializations and pictures.

Owns the metadata. Does not depend on how the session works.

A day is materialized when the session first writes to it, about every ten minutes, and at the
session's end: with the counts of the whole session, its pictures, and evaluated checks. In between
each report is an observation. A materialization makes the evaluations before it obsolete in
Dagster's eyes, so that one with each report would leave the checks without a result most of the
time. For the same reason one session at a time materializes a day (`assets.checks.evaluates`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import dagster as dg

from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.session.pictures import Drawn
from ops.session.tally import Tally
from ops.tasks import HEADLINE_TASK, all_tasks
from resources.catalogue.checks import EMBEDDINGS_CHECK, PHOTOS_CHECK, SHARES_CHECK
from resources.dagster.names import AD_PHOTOS, PHOTO_EMBEDDINGS

TOP_LABELS = 8
EMBEDDINGS_EVERY = 3
"""Embeddings and predictions are reported with every third report."""

HEADLINES = ("contact_sheet", "labels")
"""The picture of an asset that its observations show too."""

ROW_COUNT = "dagster/partition_row_count"

_ROWS = {PHOTOS_CHECK: "named", EMBEDDINGS_CHECK: "embedded", SHARES_CHECK: "ads"}
"""The figure of each check that counts the day's rows."""

Pictures = Mapping[tuple[str, str], Metadata]
"""Pictures as metadata, by asset and day."""


def report_events(
    tally: Tally, *, over_s: float, pictures: Pictures
) -> Iterator[dg.AssetObservation]:
    """Yield the observation of `ad_photos` for each day: counts, failures and latencies.

    Numbers worth a plot are entries of their own; the rest is one JSON entry, since each entry
    adds a hundred bytes to the event log every ten seconds.

    Args:
        over_s: seconds that the tally covers.
    """
    for day in sorted(tally.days):
        metadata = {
            **_headline(pictures, AD_PHOTOS, day.isoformat()),
            "ads": dg.MetadataValue.int(tally.days[day]),
            "ads_per_s": dg.MetadataValue.float(round(tally.written / max(over_s, 1e-3), 2)),
            **_photos(tally),
        }
        yield dg.AssetObservation(AD_PHOTOS, partition=day.isoformat(), metadata=metadata)


def embedding_events(tally: Tally, *, pictures: Pictures) -> Iterator[dg.AssetObservation]:
    """Yield the observations of `photo_embeddings` and the tasks' assets for each day."""
    for day in sorted(tally.days):
        for key, metadata in _by_asset(tally).items():
            headline = _headline(pictures, key, day.isoformat())
            yield dg.AssetObservation(
                key, partition=day.isoformat(), metadata={**headline, **metadata}
            )


def day_metadata(
    total: Tally,
    drawn: Drawn,
    *,
    pictures: Pictures,
    links: Mapping[str, Mapping[str, dg.MetadataValue]],
) -> Iterator[tuple[dg.AssetKey, str, Metadata]]:
    """Yield (asset, day, metadata) for every asset and day of a drawing.

    Args:
        total: the counts of the whole session.
        links: for each day, where to read on.
    """
    rows = {
        (check.asset, check.day): check.finding.figures[_ROWS[check.check]]
        for check in drawn.checks
        if _ROWS[check.check] in check.finding.figures
    }
    for day, ads in drawn.days.items():
        counts = {AD_PHOTOS: {"ads": dg.MetadataValue.int(ads), **_photos(total)}}
        for key, metadata in (counts | _by_asset(total)).items():
            name = key.to_user_string()
            count = rows.get((name, day))
            rows_of_day = {} if count is None else {ROW_COUNT: dg.MetadataValue.int(int(count))}
            shown = pictures.get((name, day), {})
            yield key, day, {**shown, **rows_of_day, **metadata, **links.get(day, {})}


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


def _headline(pictures: Pictures, key: dg.AssetKey, day: str) -> Metadata:
    shown = pictures.get((key.to_user_string(), day), {})
    return {title: shown[title] for title in HEADLINES if title in shown}


def _by_asset(tally: Tally) -> dict[dg.AssetKey, Metadata]:
    embedded: Metadata = {"photos_embedded": dg.MetadataValue.int(tally.embedded)}
    return {PHOTO_EMBEDDINGS: embedded} | {
        dg.AssetKey(task.asset_name): _predicted(tally.labels.get(task.name, Counter()))
        for task in all_tasks()
        if task.name == HEADLINE_TASK or task.name in tally.labels  # others: no release runs them
    }


def _predicted(labels: Counter[str]) -> Metadata:
    return {
        "predictions": dg.MetadataValue.int(labels.total()),
        "top_labels": dg.MetadataValue.json(dict(labels.most_common(TOP_LABELS))),
    }


def _photos(tally: Tally) -> Metadata:
    return {
        "photos": dg.MetadataValue.int(tally.photos),
        "photos_failed": dg.MetadataValue.int(tally.photos_failed),
        **_latency_metadata(tally),
        "details": dg.MetadataValue.json(_details(tally)),
    }


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
