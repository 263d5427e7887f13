"""The sensor `releases`: advances requested re-scores, and requests those of new releases.

Each tick takes the next step without waiting; the steps are in `resources/dagster/backfills.py` and
are idempotent. The sensor also fails runs of re-scores whose process was killed, so that Dagster
retries them, and shows in Dagster which days are behind.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ops.errors import LalafoError
from resources.dagster.backfills import advance, check_progress
from resources.dagster.names import POOL_BACKFILL, RESCORE_TAG
from resources.dagster.release_scores import report_coverage
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import ReleaseCoverage, read_release_coverage
from resources.releases.registry import RegisteredRelease, read_releases
from resources.rescoring.attempts import Rescore, in_window, is_at_work, latest, request, unfinished
from resources.rescoring.steps import Stage
from resources.settings import load_settings

INTERVAL_S = 30
SILENT_S = 60.0
"""A run without a working process and without an event for so many seconds is dead, unless it waits
for its pool."""

POOL_REPORT_S = 400.0
"""The same limit for a run that waits for its pool: Dagster 1.13 logs that wait every 300 s."""


@dataclass(frozen=True, slots=True)
class SensorCursor:
    """The state between ticks, stored in the sensor's cursor."""

    announced: str = ""
    announced_at: float = 0.0  # seconds since the epoch
    shown: str = ""  # digest of the scores last shown in Dagster
    compared: str = ""  # the re-score after which the last comparison was requested

    @classmethod
    def read(cls, cursor: str | None) -> "SensorCursor":
        """Parse a cursor; None and "" give an empty state."""
        return cls() if not cursor else cls(**json.loads(cursor))


def releases(diff: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Create the sensor.

    Args:
        diff: the job that compares a finished candidate with the live release.
    """

    @dg.sensor(
        job=diff,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Requests a re-score when a release has passed its gate "
            "(LALAFO_RESCORE_AUTOMATICALLY). Starts each re-score as one backfill within "
            "LALAFO_RESCORE_WINDOW, finishes it, and compares a finished candidate with the live "
            "release."
        ),
    )
    def releases(
        context: dg.SensorEvaluationContext, database: DatabaseResource
    ) -> dg.SensorResult | dg.SkipReason:
        memory = SensorCursor.read(context.cursor)
        messages: list[str] = []
        try:
            with closing(database.open()) as opened:
                memory, requests = _tick(context.instance, opened, memory, messages)
        except LalafoError as error:
            # During an outage the tick is skipped; the next one tries again.
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        finally:
            for line in messages:
                context.log.info(line)
        reason = "; ".join(messages) or "nothing to do"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(reason),
            cursor=json.dumps(asdict(memory)),
        )

    return releases


def _tick(
    instance: dg.DagsterInstance, database: Database, memory: SensorCursor, messages: list[str]
) -> tuple[SensorCursor, list[dg.RunRequest]]:
    if load_settings().rescore_automatically:
        messages += _request_passed(database)
    rows = unfinished(database)
    for row in rows:
        if row.state == "running":
            messages += _fail_dead(instance, database, row)
            step = check_progress(instance, database, row)
            messages.append(step.message)
        elif not row.any_time and not _is_in_window():
            messages.append(
                f"{row.release} waits for the window {load_settings().rescore_window} UTC"
            )
        else:
            memory = _advance(instance, database, row, memory, messages)
    memory, requests = _compare(database, memory)
    return _show(instance, database, memory), requests


def _compare(database: Database, memory: SensorCursor) -> tuple[SensorCursor, list[dg.RunRequest]]:
    """Request a comparison once the newer of the compared releases has scored every ad.

    A command may have finished the re-score, and promoted the release, since the last tick.
    """
    active = read_active_releases(database)
    if active.candidate is None and active.previous is None:
        return memory, []
    row = latest(database, (active.candidate or active.live).name)
    if row is None or row.state != "done" or row.backfill_id == memory.compared:
        return memory, []
    request = dg.RunRequest(run_key=f"diff {row.backfill_id}")
    return replace(memory, compared=row.backfill_id), [request]


def _advance(
    instance: dg.DagsterInstance,
    database: Database,
    row: Rescore,
    memory: SensorCursor,
    messages: list[str],
) -> SensorCursor:
    """Take one step of a waiting re-score; the memory has the time of the announcement."""
    is_known = memory.announced == row.release
    announced_s = time.time() - memory.announced_at if is_known else None
    step = advance(instance, database, row, announced_s=announced_s)
    messages.append(step.message)
    if step.stage is Stage.ANNOUNCED and not is_known:
        return replace(memory, announced=row.release, announced_at=time.time())
    return memory


def _request_passed(database: Database) -> Iterator[str]:
    """Request a re-score for the newest release that passed its gate against the live one."""
    active = read_active_releases(database)
    if active.candidate is not None:
        return
    for release in _newer(read_releases(database), active.live):
        if release.passed and release.gate is not None:
            against = release.gate["against"] == active.live.name
            if against and latest(database, release.name) is None:
                row = request(database, release, requested_by="the sensor releases", any_time=False)
                yield f"{release.name} has passed its gate: requested re-score {row.backfill_id}"
            return


def _newer(known: Sequence[RegisteredRelease], live: RegisteredRelease) -> list[RegisteredRelease]:
    """The releases registered after the live one, the newest first."""
    names = [release.name for release in known]
    return list(known[: names.index(live.name)]) if live.name in names else []


def _is_in_window() -> bool:
    return in_window(load_settings().rescore_window, datetime.now(UTC))


def _fail_dead(instance: dg.DagsterInstance, database: Database, row: Rescore) -> Iterator[str]:
    """Fail the re-score's runs whose process has ended: a killed run would stay started."""
    filters = dg.RunsFilter(
        tags={RESCORE_TAG: row.backfill_id}, statuses=[dg.DagsterRunStatus.STARTED]
    )
    for run in instance.get_runs(filters):
        if is_at_work(database, run.run_id):
            continue
        last = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
        silent_s = time.time() - last[0].timestamp if last else 0.0
        pool = instance.event_log_storage.get_concurrency_info(POOL_BACKFILL)
        is_waiting = any(step.run_id == run.run_id for step in pool.pending_steps)
        if silent_s > (POOL_REPORT_S if is_waiting else SILENT_S):
            why = f"its process has ended: no event for {silent_s:.0f} s"
            instance.report_run_failed(run, message=f"Failed by the sensor: {why}.")
            yield f"failed run {run.run_id}: {why}"


def _show(instance: dg.DagsterInstance, database: Database, memory: SensorCursor) -> SensorCursor:
    """Show the scores in Dagster if they have changed."""
    scores = read_release_coverage(database)
    digest = _digest(scores)
    if digest != memory.shown:
        report_coverage(instance, scores)
    return replace(memory, shown=digest)


def _digest(scores: Sequence[ReleaseCoverage]) -> str:
    return hashlib.sha256(repr(scores).encode()).hexdigest()[:16]
