"""The session as a Dagster op, and what it tells Dagster while it works.

Decides what a session run shows: a materialisation an asset and day every ten seconds, checks and
pictures at its end. The loop is `ops/session.py`, its parts are `resources/live_session.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date

import dagster as dg
import psutil
from pydantic import Field

from ops.asset_names import AD_PHOTOS, FIRST_DAY, PHOTO_EMBEDDINGS, POOL_STREAM
from ops.errors import LalafoError, LeaseLostError, RetryableError
from ops.session import SessionPolicy
from ops.session_reports import (
    FIRST_TASK,
    as_metadata,
    latency_picture,
    report_events,
    summary,
)
from ops.tally import Tally
from ops.tasks import all_tasks
from resources.dagster_resources import (
    AdStreamResource,
    DatabaseResource,
    ModelsResource,
    PhotosResource,
)
from resources.database import Database
from resources.day_checks import (
    Finding,
    embeddings_are_unit_vectors,
    every_photo_is_accounted_for,
    no_label_above_its_usual_share,
)
from resources.day_pictures import photo_pictures, prediction_pictures
from resources.day_summaries import prediction_summary
from resources.live_session import SessionParts, open_session
from resources.releases_in_force import read_in_force


class DrainConfig(dg.Config):
    """How one session run works."""

    idle_s: float | None = Field(
        default=None, description="A drained session ends after so long; overrides the setting."
    )
    report_every_s: float = Field(default=10.0, description="Between reports to Dagster.")


@dg.op(
    pool=POOL_STREAM,
    description=(
        "Takes the free Kafka partitions, scores every event on them until the topic is drained, "
        "and reports the assets of each day that it wrote to. Rows and offsets commit together."
    ),
    tags={"dagster/compute_kind": "kafka"},
)
def drain_ads(
    context: dg.OpExecutionContext,
    config: DrainConfig,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
    photos: PhotosResource,
    models: ModelsResource,
) -> None:
    """Run one session to its end."""
    with plain_failures(), closing(database.open()) as held:
        settings = models.settings()
        with ad_stream.open() as stream:
            parts = SessionParts(
                settings=settings,
                database=held,
                stream=stream,
                store=photos.store(),
                releases=models.store(),
                fetcher=photos.fetcher,
                embedder=models.embedder(),
                first_day=FIRST_DAY,
            )
            policy = SessionPolicy(
                idle_s=5.0 if config.idle_s is None else config.idle_s,
                report_every_s=config.report_every_s,
            )
            _drain(context, parts, policy)


@contextmanager
def plain_failures() -> Iterator[None]:
    """Our own errors fail a run in their own words: they say what to do, a stack trace does not."""
    try:
        yield
    except LalafoError as error:
        kind = type(error).__name__
        raise dg.Failure(
            f"{kind}: {error}", allow_retries=isinstance(error, RetryableError)
        ) from None


def _drain(context: dg.OpExecutionContext, parts: SessionParts, policy: SessionPolicy) -> None:
    def report(tally: Tally) -> None:
        context.log.info(summary(tally))
        for event in report_events(tally):
            context.log_event(event)

    stack_pid = parts.settings.stack_pid

    def keep_going() -> bool:
        # A stack on one machine that was killed leaves nothing behind: its session ends after this
        # batch, and the next stack's goes on from the last commit.
        return stack_pid == 0 or psutil.pid_exists(stack_pid)

    with open_session(
        parts, run_id=context.run_id, report=report, policy=policy, keep_going=keep_going
    ) as live:
        if not live.epochs:
            context.log.info("every partition is held by a living session: nothing to do")
            return
        context.log.info(f"holding partitions (with epochs) {dict(live.epochs)}")
        try:
            total = live.session.run()
        except LeaseLostError as error:
            # Not a failure: another session goes on from our last commit.
            context.log.warning(f"ending early: {error}")
            return
    # The leases are free again: what follows keeps no ad waiting.
    context.log.info(f"drained: {summary(total)}")
    if total.unaccounted != 0:
        raise dg.Failure(f"{total.unaccounted} events came in and are nowhere: this is a bug")
    if total.days:
        for observation in picture_days(parts, total):
            context.log_event(observation)
        for evaluation in check_days(parts.database, sorted(total.days)):
            context.instance.report_runless_asset_event(evaluation)


def picture_days(parts: SessionParts, total: Tally) -> Iterator[dg.AssetObservation]:
    """Pictures of the session, and of each day that it wrote to."""
    yield latency_picture(total)
    live = read_in_force(parts.database).live.name
    for day in sorted(total.days):
        photos = photo_pictures(parts.database, parts.store, [day], release=live, task=FIRST_TASK)
        yield dg.AssetObservation(
            AD_PHOTOS, partition=day.isoformat(), metadata=as_metadata(photos)
        )
        for task in all_tasks():
            found = prediction_summary(parts.database, [day], release=live, task=task.name)
            yield dg.AssetObservation(
                task.asset_name,
                partition=day.isoformat(),
                metadata=as_metadata(prediction_pictures(found)),
            )


def check_days(database: Database, days: Sequence[date]) -> Iterator[dg.AssetCheckEvaluation]:
    """Every check of the catalogue's assets, over these days together."""
    covered = ", ".join(day.isoformat() for day in days)
    for key, name, finding in day_findings(database, days):
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=finding.passed,
            description=finding.description,
            metadata={"days": covered, **finding.figures},
            severity=severity_of(name),
        )


def day_findings(
    database: Database, days: Sequence[date]
) -> Iterator[tuple[dg.AssetKey, str, Finding]]:
    """(asset, check, finding) of every check, over these days together."""
    live = read_in_force(database).live
    yield AD_PHOTOS, PHOTOS_CHECK, every_photo_is_accounted_for(database, days)
    unit = embeddings_are_unit_vectors(database, days, live.backbone)
    yield PHOTO_EMBEDDINGS, EMBEDDINGS_CHECK, unit
    for task in all_tasks():
        share = no_label_above_its_usual_share(database, days, live.name, task.name)
        yield dg.AssetKey(task.asset_name), SHARES_CHECK, share


PHOTOS_CHECK = "in_is_out_plus_failed"
EMBEDDINGS_CHECK = "unit_vectors"
SHARES_CHECK = "no_label_above_its_usual_share"


def severity_of(check: str) -> dg.AssetCheckSeverity:
    """A share that moved may be the market's doing; rows that are missing are ours."""
    warns = check == SHARES_CHECK
    return dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR
