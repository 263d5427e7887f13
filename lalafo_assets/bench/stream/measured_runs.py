"""The two measured runs of `lalafo bench stream`: the baseline and the session.

Both get the same ads at the same times, on the same servers, after the same warm-up. Only the
session's run has a kill or a re-score in the middle.
"""

import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from lalafo_assets.bench.harness.ads import PlannedAd
from lalafo_assets.bench.harness.cpu import POSTGRES, CpuWatch
from lalafo_assets.bench.harness.feed import (
    POLL_S,
    STALLED_S,
    counted_ads,
    prepare_load,
    wait_until_done,
    warm_ads,
    warm_sessions,
)
from lalafo_assets.bench.harness.figures import AdTiming
from lalafo_assets.bench.harness.options import StreamBench
from lalafo_assets.bench.harness.place import Place, Progress, baseline_topic
from lalafo_assets.bench.harness.sessions import Sessions, count_done
from lalafo_assets.bench.harness.workers import Worker
from lalafo_assets.bench.stream.backfill import Backfill, launch_backfill
from lalafo_assets.bench.stream.baseline import TABLES
from lalafo_assets.bench.stream.check import Verdict, judge, read_stored_ads, read_timings
from lalafo_assets.bench.stream.searchable import SearchableTimes
from lalafo_assets.bench.stream.spikes import Sample
from resources.processes.environment import TUNING
from resources.releases.registry import find_release
from resources.sessions.deferred.queue import depth

TIMES_S = 15.0
KILL_SHARE = 0.5  # of the load's length


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The raw results of one run; moments in seconds since 1970 (UTC)."""

    timings: list[AdTiming]
    load: dict[str, Any]
    began_at: float
    drained_at: float
    cpu_s: dict[str, float]  # by group
    rss_mb: float
    verdict: Verdict | None = None
    sessions: int = 0
    killed_at: float | None = None
    backfill: Backfill | None = None
    samples: list[Sample] = field(default_factory=list)  # with `explain`
    deferred_s: float | None = None  # from the last commit to the last task after the path
    searchable_at: dict[str, float] | None = None  # by ad id, with `with_search`


def measure_baseline(
    bench: StreamBench,
    place: Place,
    sessions: Sessions,
    on_progress: Progress,
    *,
    stores: bool = True,
) -> Measured:
    """Measure the baseline on its own topic; the sessions idle meanwhile.

    Args:
        stores: whether it stores the photos.
    """
    with place.database.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)}")
        for name, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE {name} ({columns})")
    count = bench.baseline_processes
    topic = baseline_topic(place.settings.ads_topic, stores=stores)
    partitions = place.stream.partitions(topic)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(
                    "lalafo_assets.bench.stream.baseline",
                    {
                        "topic": topic,
                        "partitions": partitions[number::count],
                        "store_url": str(place.home / "baseline-store"),
                        "store": stores,
                    },
                    log_file=place.home / "logs" / f"baseline-{number}.log",
                    environment=TUNING,
                )
            )
            for number in range(count)
        ]
        for worker in workers:
            worker.answer()

        def done() -> int:
            for worker in workers:
                if not worker.is_running():
                    worker.answer()  # raises with the last lines of its log
            return _count(place, "SELECT count(*) FROM baseline_ads")

        warm = warm_ads(place)
        with prepare_load(place, warm, topic=topic, catalog="warm") as load:
            load.go()
            wait_until_done(
                done, len(warm), lambda n: on_progress("warming the baseline", n, len(warm))
            )
        roots = {**_roots(place), "baseline": [worker.pid for worker in workers]}
        ads = counted_ads(bench, place)
        with prepare_load(place, ads, topic=topic, catalog="baseline") as load:
            watch, began_at = CpuWatch(roots, sessions.pids), time.time()
            load.go()
            wait_until_done(
                lambda: done() - len(warm),
                len(ads),
                lambda n: on_progress("the baseline", n, len(ads)),
            )
            drained_at, cpu_s = time.time(), watch.used_s()
            sent = load.answer()
        ended = [worker.end() for worker in workers]
    measured = {ad.ad_id for ad in ads}
    timings = [
        AdTiming(ad_id, photos, kafka_at_ms / 1000, at)
        for answer in ended
        for ad_id, photos, kafka_at_ms, at in answer["ads"]
        if ad_id in measured
    ]
    return Measured(
        timings=sorted(timings, key=lambda ad: ad.kafka_at),
        load=sent,
        began_at=began_at,
        drained_at=drained_at,
        cpu_s=cpu_s,
        rss_mb=max(answer["rss_mb"] for answer in ended),
    )


def measure_session(
    bench: StreamBench, place: Place, sessions: Sessions, on_progress: Progress
) -> Measured:
    """Measure the sessions that the sensor started, with the kill or re-score of the options."""
    catalog = f"bench-{uuid.uuid4().hex[:8]}"
    ads = counted_ads(bench, place)
    with ExitStack() as stack:
        load = stack.enter_context(
            prepare_load(place, ads, topic=place.settings.ads_topic, catalog=catalog)
        )
        count = warm_sessions(bench, place, sessions, on_progress)
        searchable = (
            stack.enter_context(SearchableTimes(place, catalog)) if bench.with_search else None
        )
        sampler = stack.enter_context(_sampler(place, sessions)) if bench.explain else None
        watch = CpuWatch(_roots(place), sessions.pids)
        backfill = _start_backfill(bench, place, on_progress) if bench.with_backfill else None
        kill = _ScheduledKill(bench, sessions)
        began_at = time.time()
        if sampler is not None:
            sampler.go()
        load.go()

        def done() -> int:
            watch.sample()
            kill.run_if_due(time.time() - began_at)
            return count_done(place.database, catalog)

        wait_until_done(
            done,
            len(ads),
            lambda n: on_progress("the session", n, len(ads)),
            check=place.stack.check,
        )
        drained_at, cpu_s = time.time(), watch.used_s()
        sent = load.answer()
        if searchable is not None:
            searchable.wait_for(len(ads), on_progress)
        samples = [] if sampler is None else sampler.end()["samples"]
    timings = _wait_for_times(place, catalog, ads)
    deferred_s = _wait_for_deferred(place, drained_at, on_progress) if bench.all_tasks else None
    stored = read_stored_ads(place.database, catalog, place.release)
    return Measured(
        timings=timings,
        load=sent,
        began_at=began_at,
        drained_at=drained_at,
        cpu_s=cpu_s,
        rss_mb=watch.session_rss_mb,
        verdict=judge(ads, stored, tasks=len(find_release(place.database, place.release).tasks)),
        sessions=count,
        killed_at=kill.killed_at,
        backfill=backfill,
        samples=[Sample.parse(answer) for answer in samples],
        deferred_s=deferred_s,
        searchable_at=None if searchable is None else searchable.at,
    )


def _wait_for_deferred(place: Place, since: float, on_progress: Progress) -> float:
    """Seconds from the last ad's commit until every ad had its tasks after the path."""
    waiting = depth(place.database).ads
    if waiting > 0:
        wait_until_done(
            lambda: waiting - depth(place.database).ads,
            waiting,
            lambda n: on_progress("tasks after the path", n, waiting),
            check=place.stack.check,
        )
    return time.time() - since


def _sampler(place: Place, sessions: Sessions) -> Worker:
    """The process that samples the sessions, the servers and the disk meanwhile."""
    return Worker(
        "lalafo_assets.bench.stream.sampler",
        {
            "sessions": sorted(sessions.pids()),
            "roots": _roots(place),
            "folder": str(place.home),
        },
        log_file=place.home / "logs" / "sampler.log",
    )


class _ScheduledKill:
    """Kills the live session once, halfway through the load, if the options say so."""

    def __init__(self, bench: StreamBench, sessions: Sessions) -> None:
        self.bench, self.sessions = bench, sessions
        self.killed_at: float | None = None

    def run_if_due(self, elapsed_s: float) -> None:
        """Kill the session if it is time and it was not killed yet."""
        due_s = self.bench.seconds * KILL_SHARE
        if self.bench.kill and self.killed_at is None and elapsed_s >= due_s:
            self.killed_at = time.time()
            self.sessions.kill_live()


def _start_backfill(bench: StreamBench, place: Place, on_progress: Progress) -> Backfill:
    """Launch the re-score and wait until it runs; it imports torch during the measurement."""
    description = "starting the re-score"
    on_progress(description, 0, 1)
    backfill = launch_backfill(bench, place)
    deadline = time.monotonic() + STALLED_S
    while backfill.window()[0] is None and time.monotonic() < deadline:
        place.stack.check()
        time.sleep(POLL_S)
    on_progress(description, 1, 1)
    return backfill


def _roots(place: Place) -> dict[str, list[int]]:
    """The root processes of each group for CpuWatch."""
    roots = {"dagster": place.stack.pids, "photo_host": [place.photo_server.pid]}
    postgres = place.stack.postgres_pid
    if postgres is not None:
        roots[POSTGRES] = [postgres]
    if place.broker.pid is not None:
        roots["kafka"] = [place.broker.pid]
    return roots


def _wait_for_times(place: Place, catalog: str, ads: list[PlannedAd]) -> list[AdTiming]:
    """Wait for the commit times: sessions write them with the next commit, or when idle."""
    deadline = time.monotonic() + TIMES_S
    while True:
        timings = read_timings(place.database, catalog, ads)
        missing = sum(ad.committed_at is None for ad in timings)
        if missing == 0 or time.monotonic() > deadline:
            return timings
        time.sleep(POLL_S)


def _count(place: Place, query: str) -> int:
    with place.database.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])
