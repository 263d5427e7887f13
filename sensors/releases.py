"""The sensor `releases`: what follows once a release was judged, or a re-score was asked for.

It decides what is next, a little at a tick, and waits for nothing: each step is
`resources/dagster/backfills.py`'s and may be taken again. It also fails runs of re-scores whose
process was killed, so that Dagster retries them, and shows Dagster which days are behind.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ops.errors import LalafoError
from resources.dagster.backfills import advance, look
from resources.dagster.names import POOL_BACKFILL, RESCORE_TAG
from resources.dagster.release_scores import show_scores
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import ReleaseCoverage, read_scores
from resources.releases.registry import RegisteredRelease, read_releases
from resources.rescoring.attempts import Rescore, in_window, is_at_work, latest, request, unfinished
from resources.rescoring.steps import Stage
from resources.settings import load_settings

INTERVAL_S = 30
SILENT_S = 60.0
"""A run that is not at work and wrote no event for so long is dead, unless its pool is full."""

POOL_REPORT_S = 400.0
"""Dagster 1.13 tells every 300 s that a step waits for its pool: silence beyond that is death."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tick leaves to the next: the sensor's cursor."""

    announced: str = ""
    announced_at: float = 0.0  # seconds since the epoch
    shown: str = ""  # a digest of the scores that Dagster was shown

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """From a cursor; an empty one where there is none."""
        return cls() if not cursor else cls(**json.loads(cursor))


def releases(diff: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """The sensor, for the job that compares a finished candidate with the live release."""

    @dg.sensor(
        job=diff,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Asks for a re-score when a release has passed its gate (LALAFO_RESCORE_"
            "AUTOMATICALLY), starts those whose time has come (LALAFO_RESCORE_WINDOW) as one "
            "backfill each, ends them, and compares a finished candidate with the live release."
        ),
    )
    def releases(
        context: dg.SensorEvaluationContext, database: DatabaseResource
    ) -> dg.SensorResult | dg.SkipReason:
        memory = Memory.read(context.cursor)
        messages: list[str] = []
        try:
            with closing(database.open()) as held:
                memory, requests = _tick(context.instance, held, memory, messages)
        except LalafoError as error:
            # An outage is waited out: the next tick looks again.
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        finally:
            for line in messages:
                context.log.info(line)
        words = "; ".join(messages) or "nothing to do"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(words),
            cursor=json.dumps(asdict(memory)),
        )

    return releases


def _tick(
    instance: dg.DagsterInstance, database: Database, memory: Memory, messages: list[str]
) -> tuple[Memory, list[dg.RunRequest]]:
    requests: list[dg.RunRequest] = []
    if load_settings().rescore_automatically:
        messages += _request_passed(database)
    rows = unfinished(database)
    for row in rows:
        if row.state == "running":
            messages += _fail_dead(instance, database, row)
            step = look(instance, database, row)
            messages.append(step.message)
            if step.stage is Stage.DONE and _is_candidate(database, row):
                requests.append(dg.RunRequest(run_key=f"diff {row.backfill_id}"))
        elif not row.any_time and not _is_time():
            messages.append(f"{row.release} waits for {load_settings().rescore_window} UTC")
        else:
            memory = _advance(instance, database, row, memory, messages)
    return _show(instance, database, memory), requests


def _advance(
    instance: dg.DagsterInstance,
    database: Database,
    row: Rescore,
    memory: Memory,
    messages: list[str],
) -> Memory:
    """One step of a waiting re-score; the memory says since when its release is announced."""
    known = memory.announced == row.release
    announced_s = time.time() - memory.announced_at if known else None
    step = advance(instance, database, row, announced_s=announced_s)
    messages.append(step.message)
    if step.stage is Stage.ANNOUNCED and not known:
        return Memory(row.release, time.time(), memory.shown)
    return memory


def _request_passed(database: Database) -> Iterator[str]:
    """Ask for the newest release that passed its gate against the live one, and is newer."""
    active = read_active_releases(database)
    if active.candidate is not None:
        return
    for release in _newer(read_releases(database), active.live):
        if release.passed and release.gate is not None:
            against = release.gate["against"] == active.live.name
            if against and latest(database, release.name) is None:
                row = request(database, release, requested_by="the sensor releases", any_time=False)
                yield f"{release.name} has passed its gate: {row.backfill_id} is asked for"
            return


def _newer(known: Sequence[RegisteredRelease], live: RegisteredRelease) -> list[RegisteredRelease]:
    """Those registered after the live one, the newest first."""
    names = [release.name for release in known]
    return list(known[: names.index(live.name)]) if live.name in names else []


def _is_candidate(database: Database, row: Rescore) -> bool:
    candidate = read_active_releases(database).candidate
    return candidate is not None and candidate.name == row.release


def _is_time() -> bool:
    return in_window(load_settings().rescore_window, datetime.now(UTC))


def _fail_dead(instance: dg.DagsterInstance, database: Database, row: Rescore) -> Iterator[str]:
    """Fail the re-score's runs whose process is gone: a killed one says nothing for ever."""
    filters = dg.RunsFilter(
        tags={RESCORE_TAG: row.backfill_id}, statuses=[dg.DagsterRunStatus.STARTED]
    )
    for run in instance.get_runs(filters):
        if is_at_work(database, run.run_id):
            continue
        last = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
        silent_s = time.time() - last[0].timestamp if last else 0.0
        pool = instance.event_log_storage.get_concurrency_info(POOL_BACKFILL)
        waits = any(step.run_id == run.run_id for step in pool.pending_steps)
        if silent_s > (POOL_REPORT_S if waits else SILENT_S):
            why = f"its process is gone: it said nothing for {silent_s:.0f} s"
            instance.report_run_failed(run, message=f"Failed by the sensor: {why}.")
            yield f"failed run {run.run_id}: {why}"


def _show(instance: dg.DagsterInstance, database: Database, memory: Memory) -> Memory:
    """Show Dagster the scores, if they are others than it was shown."""
    scores = read_scores(database)
    digest = _digest(scores)
    if digest != memory.shown:
        show_scores(instance, scores)
    return Memory(memory.announced, memory.announced_at, digest)


def _digest(scores: Sequence[ReleaseCoverage]) -> str:
    return hashlib.sha256(repr(scores).encode()).hexdigest()[:16]
