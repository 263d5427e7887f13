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

from lalafo_assets.assets.checks import evaluations
from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.reports.pictures import linked
from lalafo_assets.session.pictures import Drawn
from lalafo_assets.session.reports import (
    EMBEDDINGS_EVERY,
    Pictures,
    day_metadata,
    embedding_events,
    report_events,
    summary,
)
from ops.pictures.previews import EMBEDDED_BYTES, as_markdown
from ops.session.tally import Tally
from resources.catalogue.checks import Finding, catalogue_checks
from resources.dagster.partitions import days
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

REPORTS_AN_HOUR = 360
ADS_A_REPORT = 200
REPORTS_A_DRAWING = 60  # every ten minutes
DAY = date(2026, 6, 1)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's default logger prints every event to standard error; the event log has them too."""
TITLES = {
    "ad_photos": ("contact_sheet", "failures"),
    "ad_categories": ("labels", "scores", "confusion_matrix"),
}
FINDING = Finding(
    passed=True,
    description="123456 photos in ads = 123400 stored + 56 failed",
    figures={"named": 123_456, "stored": 123_400, "failed": 56, "unaccounted": 0},
)


def run_bench() -> str:
    """Write the reports and return the JSON line."""
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        postgres.start()
        try:
            url = postgres.dagster_url()
            linked_ones = _measure(Path(folder), url, _linked())
            embedded_ones = _measure(Path(folder), url, _embedded())
            found = {**linked_ones, "mb_per_day_embedded": embedded_ones["mb_per_day"]}
            return json.dumps({**found, "ads_per_minute": ADS_A_REPORT * 6})
        finally:
            postgres.stop()


def _measure(folder: Path, url: str, pictures: Pictures) -> dict[str, Any]:
    config = {
        "storage": {"postgres": {"postgres_url": url}},
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(json.dumps(config))  # JSON is YAML too

    @dg.op
    def an_hour(context: dg.OpExecutionContext) -> None:
        rng, total = random.Random(0), Tally()  # noqa: S311 - not a secret
        of_reports = pictures if pictures == _linked() else {}
        for number in range(REPORTS_AN_HOUR):
            tally = _tally(rng)
            total.merge(tally)
            context.log.info(summary(tally))
            for event in report_events(tally, over_s=10, pictures=of_reports):
                context.log_event(event)
            if number % EMBEDDINGS_EVERY == 0:
                for event in embedding_events(tally, pictures=of_reports):
                    context.log_event(event)
            if number % REPORTS_A_DRAWING == 0:
                for key, day, metadata in day_metadata(
                    total, _drawn(total), pictures=pictures, links={}
                ):
                    context.log_event(
                        dg.AssetMaterialization(key, partition=day, metadata=metadata)
                    )
                for asset, name, _ in catalogue_checks():
                    found = {DAY.isoformat(): FINDING}
                    for it in evaluations(context.instance, dg.AssetKey(asset), name, found):
                        context.log_event(it)  # type: ignore[arg-type] # Dagster takes it

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
    }


def _linked() -> Pictures:
    """Pictures as `lalafo up` shows them."""
    of = "http://127.0.0.1:8080/v1/reports/52fa6e1e-16df-4fda-b540-34b69ed35586/2026-06-01"
    return {
        (asset, DAY.isoformat()): {
            title: linked(title, f"{of}-{asset}-{title}.png") for title in titles
        }
        for asset, titles in TITLES.items()
    }


def _embedded() -> Pictures:
    """Pictures where no gateway serves them: as large as they may be, and incompressible."""
    image = random.Random(1).randbytes(EMBEDDED_BYTES)  # noqa: S311 - not a secret
    shown: dict[tuple[str, str], Metadata] = {}
    for asset, titles in TITLES.items():
        metadata: Metadata = {t: dg.MetadataValue.md(as_markdown(image)) for t in titles}
        shown[asset, DAY.isoformat()] = metadata
    return shown


def _drawn(total: Tally) -> Drawn:
    return Drawn(days={day.isoformat(): ads for day, ads in total.days.items()})


def _size(url: str) -> tuple[int, int]:
    """The event log's rows, and its bytes on disk with indexes, and those of the checks."""
    with psycopg.connect(Conninfo.parse(url).text("lalafo-bench")) as connection:
        row = connection.execute(
            "SELECT count(*), pg_total_relation_size('event_logs') "
            "+ pg_total_relation_size('asset_check_executions') FROM event_logs"
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
        labels={"category": Counter({f"label number {n}": rng.randint(1, 20) for n in range(29)})},
        releases={"mobilenet_v3_small-0123456789ab"},
        days=Counter({DAY: ADS_A_REPORT}),
        offsets=dict.fromkeys(range(4), (1234567, 1234617)),
        latencies_ms=[rng.uniform(15, 80) for _ in range(ADS_A_REPORT)],
    )
