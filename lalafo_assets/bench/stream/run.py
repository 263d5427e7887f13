"""Runs `lalafo bench stream`: latency from Kafka timestamp to committed row, beside a baseline.

Both get the same ads at the same times in the same run, the baseline first. Kafka, PostgreSQL with
fsync, Dagster's webserver, daemon and code server, and the photo host run during both, on the same
cores. The sensor starts the sessions; they idle while the baseline is measured.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from lalafo_assets.bench.harness.cpu import SESSIONS
from lalafo_assets.bench.harness.feed import warm_sessions
from lalafo_assets.bench.harness.figures import (
    AdTiming,
    latency,
    longest_gap_ms,
    photos_per_s,
    rounded,
    searchable,
    stage_medians,
)
from lalafo_assets.bench.harness.options import StreamBench
from lalafo_assets.bench.harness.place import Place, fsync_ms, open_place
from lalafo_assets.bench.harness.progress import ProgressDisplay
from lalafo_assets.bench.harness.sessions import Sessions
from lalafo_assets.bench.stream.backfill import prepare_backfill
from lalafo_assets.bench.stream.measured_runs import Measured, measure_baseline, measure_session
from lalafo_assets.bench.stream.searchable import wait_for_index
from lalafo_assets.bench.stream.spikes import Spike, causes, find_spikes

ARRIVALS = "open loop, evenly spaced with a jitter of up to one interval"
AT_ONCE = "all at once"
BASELINE = "librdkafka, threads, own offsets; measured first, sessions idle beside it"
SPIKES_SHOWN = 30
PHOTO_SERVER = "asyncio.Protocol over uvloop, answers from memory, one process"


def run_stream(bench: StreamBench, console: Console) -> str:
    """Start the servers, measure both runs, stop the servers, and return the JSON line.

    Raises:
        LalafoError: a process did not start, or no ad was committed.
    """
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        folder = stack.enter_context(
            # PostgreSQL may still delete files of its own while the folder is listed for removal.
            TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)
        )
        place = stack.enter_context(
            open_place(bench, Path(folder), on_progress=display.say, step=display.step)
        )
        sessions = Sessions(
            place.database,
            place.stream.stream_id(),
            place.settings.ads_topic,
            len(place.stream.partitions()),
            tuple(place.stack.pids),
        )
        if bench.with_backfill:
            display.say(f"storing {bench.backfill_photos} photos for the re-score")
            prepare_backfill(bench, place)
        display.say("waiting for the sessions that the sensor starts")
        warm_sessions(bench, place, sessions, display.step)
        if bench.with_search:
            wait_for_index(place, display.step)
        baseline = measure_baseline(bench, place, sessions, display.step)
        unstored = (
            measure_baseline(bench, place, sessions, display.step, stores=False)
            if bench.without_storing
            else None
        )
        session = measure_session(bench, place, sessions, display.step)
        disk_ms = fsync_ms(place.home)
        summary = summarise(bench, place, baseline, session)
        summary |= {**_unstored(bench, unstored), "fsync_ms": round(disk_ms, 2)}
        if bench.explain:
            spikes = find_spikes(session.timings, session.samples)
            display.say(f"{len(spikes)} ads took over three times the median")
            if spikes:
                console.print(_spike_table(spikes, session))
        if bench.plot is not None:
            from lalafo_assets.bench.stream.plot import draw

            draw(bench.plot, baseline, session, title=_title(bench))
            display.say(f"drew {bench.plot}")
    return json.dumps(summary)


def summarise(
    bench: StreamBench, place: Place, baseline: Measured, session: Measured
) -> dict[str, object]:
    """The JSON line as a dict."""
    assert session.verdict is not None
    # An ad without a commit time was committed before the kill, else before the last was stored.
    latest = session.drained_at if session.killed_at is None else session.killed_at
    figures = latency(session.timings, latest=latest)
    baseline_figures = latency(baseline.timings, latest=0.0)
    photos = sum(ad.photos for ad in session.timings)
    rate, baseline_rate = photos_per_s(session.timings), photos_per_s(baseline.timings)
    duration_s = session.drained_at - session.began_at
    return {
        "ads": bench.ads,
        "photos": bench.photo_count,
        "lost": len(session.verdict.lost),
        "doubled": len(session.verdict.doubled),
        "p50_ms": rounded(figures.p50_ms),
        "p90_ms": rounded(figures.p90_ms),
        "p99_ms": rounded(figures.p99_ms),
        "max_ms": rounded(figures.max_ms),
        "baseline_p50_ms": rounded(baseline_figures.p50_ms),
        "baseline_p90_ms": rounded(baseline_figures.p90_ms),
        "baseline_p99_ms": rounded(baseline_figures.p99_ms),
        "baseline_max_ms": rounded(baseline_figures.max_ms),
        "photos_per_s": rounded(rate),
        "baseline_photos_per_s": rounded(baseline_rate),
        "ratio": rounded(rate / baseline_rate, 3),
        "cpu_s_per_photo": rounded(session.cpu_s[SESSIONS] / max(1, photos), 5),
        "baseline_cpu_s_per_photo": rounded(baseline.cpu_s["baseline"] / bench.photo_count, 5),
        "rss_mb": round(session.rss_mb),
        "baseline_rss_mb": round(baseline.rss_mb),
        "stages": stage_medians(session.timings),
        "cores_used": _cores(session.cpu_s, duration_s),
        "baseline_cores_used": _cores(baseline.cpu_s, baseline.drained_at - baseline.began_at),
        "broker": place.broker.name,
        "sessions": session.sessions,
        "partitions": len(place.stream.partitions()),
        "runs": len({ad.run_id for ad in session.timings}),
        "untimed": figures.untimed,
        "late_p99_ms": round(float(session.load["late_p99_ms"]), 1),
        "wrong": dict(list({**session.verdict.lost, **session.verdict.doubled}.items())[:5]),
        **_events(bench, session),
        **_circumstances(bench, place),
    }


def _unstored(bench: StreamBench, measured: Measured | None) -> dict[str, object]:
    """The figures of the baseline that stores no photos, if it was measured."""
    if measured is None:
        return {}
    figures = latency(measured.timings, latest=0.0)
    return {
        "unstored_baseline_p50_ms": rounded(figures.p50_ms),
        "unstored_baseline_p99_ms": rounded(figures.p99_ms),
        "unstored_baseline_photos_per_s": rounded(photos_per_s(measured.timings)),
        "unstored_baseline_cpu_s_per_photo": rounded(
            measured.cpu_s["baseline"] / bench.photo_count, 5
        ),
    }


def _spike_table(spikes: Sequence[Spike], session: Measured) -> Table:
    table = Table(title="The slowest ads")
    for name in ("second", "ms", "its stage", "ms in it", "others in process", "cause"):
        table.add_column(name, justify="left" if name in ("its stage", "cause") else "right")
    for spike in sorted(spikes, key=lambda one: -one.latency_ms)[:SPIKES_SHOWN]:
        table.add_row(
            *(f"{spike.at - session.began_at:.1f}", f"{spike.latency_ms:.0f}", spike.stage),
            *(f"{spike.stage_ms:.0f}", str(spike.others), spike.cause),
        )
    return table


def _events(bench: StreamBench, session: Measured) -> dict[str, object]:
    """The keys about the kill, the re-score and the handover, where the options have them."""
    events: dict[str, object] = {}
    if session.killed_at is not None:
        events["killed_after_s"] = round(session.killed_at - session.began_at, 2)
        events["longest_gap_ms"] = rounded(longest_gap_ms(session.timings, since=session.killed_at))
    if session.backfill is not None:
        started, ended = session.backfill.window()
        beside = _beside(session.timings, started, ended)
        figures = latency(beside, latest=session.drained_at)
        events["backfill"] = {
            "photos": session.backfill.photos,
            "status": session.backfill.status(),
            "started_s": None if started is None else round(started - session.began_at, 1),
            "ended_s": None if ended is None else round(ended - session.began_at, 1),
            "ads_beside": len(beside),
            "p50_ms": rounded(figures.p50_ms),
            "p99_ms": rounded(figures.p99_ms),
            "max_ms": rounded(figures.max_ms),
        }
    if bench.explain:
        spikes = find_spikes(session.timings, session.samples)
        events["spikes"] = len(spikes)
        events["spike_causes"] = causes(spikes)
    if session.searchable_at is not None:
        events |= searchable(session.timings, session.searchable_at)
    if session.deferred_s is not None:
        events["tasks_done_after_s"] = round(session.deferred_s, 1)
    if bench.session_minutes is not None:
        events["session_minutes"] = round(bench.session_minutes, 3)
    return events


def _beside(timings: list[AdTiming], started: float | None, ended: float | None) -> list[AdTiming]:
    """The ads that were sent while the re-score ran."""
    if started is None:
        return []
    return [
        ad for ad in timings if ad.kafka_at >= started and (ended is None or ad.kafka_at <= ended)
    ]


def _circumstances(bench: StreamBench, place: Place) -> dict[str, object]:
    settings = place.settings
    return {
        "rate": bench.load_rate,
        "seconds": bench.seconds,
        "photos_per_ad": bench.photos_per_ad,
        "arrivals": AT_ONCE if bench.saturate else ARRIVALS,
        "mode": [name for name in ("saturate", "handover", "kill") if getattr(bench, name)]
        + (["with_backfill"] if bench.with_backfill else []),
        "photo_source": "drawn" if bench.photos is None else "a folder of photos, re-encoded",
        "photo_server": PHOTO_SERVER,
        "baseline": BASELINE,
        "baseline_processes": bench.baseline_processes,
        "model": f"{place.release}, {settings.model_mode}",
        "torch_threads": settings.torch_threads,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cores(cpu_s: Mapping[str, float], duration_s: float) -> dict[str, float]:
    """The average number of cores that each group used."""
    return {name: round(used / duration_s, 3) for name, used in cpu_s.items()}


def _title(bench: StreamBench) -> str:
    extra = "".join(
        f", {name.replace('_', ' ')}"
        for name in ("saturate", "handover", "kill", "with_backfill")
        if getattr(bench, name)
    )
    return f"{bench.rate:g} ads/s, {bench.photos_per_ad:g} photos an ad{extra}"
