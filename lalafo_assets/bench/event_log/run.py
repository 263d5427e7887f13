"""Runs `lalafo bench event-log`: how much one hour of reports adds to Dagster's storage.

Writes the reports of one hour at 1,200 ads a minute, as a session does, into Dagster's tables in a
real PostgreSQL, and measures by how much the event log grew. All sessions together write as much as
one (`report_interval_s`).
"""

import json
import random
from collections import Counter
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import psycopg

from lalafo_assets.session.reports import EMBEDDINGS_EVERY, embedding_events, report_events, summary
from ops.session.tally import Tally
from resources.dagster.partitions import days
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

REPORTS_AN_HOUR = 360
ADS_A_REPORT = 200
DAY = date(2026, 6, 1)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's default logger prints every event to standard error; the event log has them too."""


def run_bench() -> str:
    """Write the reports and return the JSON line."""
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        postgres.start()
        try:
            return json.dumps(_measure(Path(folder), postgres.dagster_url()))
        finally:
            postgres.stop()


def _measure(folder: Path, url: str) -> dict[str, Any]:
    config = {
        "storage": {"postgres": {"postgres_url": url}},
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(json.dumps(config))  # JSON is YAML too

    @dg.op
    def an_hour(context: dg.OpExecutionContext) -> None:
        rng = random.Random(0)  # noqa: S311 - not a secret
        for number in range(REPORTS_AN_HOUR):
            tally = _tally(rng)
            context.log.info(summary(tally))
            for event in report_events(tally, over_s=10):
                context.log_event(event)
            if number % EMBEDDINGS_EVERY == 0:
                for event in embedding_events(tally):
                    context.log_event(event)

    @dg.job(partitions_def=days)
    def reports() -> None:
        an_hour()

    with dg.DagsterInstance.from_config(str(folder)) as instance:
        before = _size(url)
        reports.execute_in_process(
            instance=instance, partition_key=DAY.isoformat(), run_config=QUIET
        )
        rows, on_disk = (
            after - at_start for after, at_start in zip(_size(url), before, strict=True)
        )
    return {
        "rows_per_hour": rows,
        "mb_per_hour": round(on_disk / 1e6, 2),
        "mb_per_day": round(on_disk * 24 / 1e6, 1),
        "ads_per_minute": ADS_A_REPORT * 6,
    }


def _size(url: str) -> tuple[int, int]:
    """The event log's rows, and its bytes on disk with indexes."""
    with psycopg.connect(Conninfo.parse(url).text("lalafo-bench")) as connection:
        row = connection.execute(
            "SELECT count(*), pg_total_relation_size('event_logs') FROM event_logs"
        ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


def _tally(rng: random.Random) -> Tally:
    """The tally of ten seconds of a stream with some dead letters and failed photos."""
    return Tally(
        events=ADS_A_REPORT + 2,
        written=ADS_A_REPORT,
        photos=500,
        embedded=480,
        predictions=ADS_A_REPORT,
        batches=180,
        dead_letters=Counter({"event_not_json": 1, "event_bad_revision": 1}),
        statuses=Counter({"scored": ADS_A_REPORT - 3, "unscored": 3}),
        photo_failures=Counter({"fetch_not_found": 4, "photo_truncated": 2, "fetch_timeout": 1}),
        categories=Counter({f"label number {n}": rng.randint(1, 20) for n in range(29)}),
        releases={"mobilenet_v3_small-0123456789ab"},
        days=Counter({DAY: ADS_A_REPORT}),
        offsets=dict.fromkeys(range(4), (1234567, 1234617)),
        latencies_ms=[rng.uniform(15, 80) for _ in range(ADS_A_REPORT)],
    )
