"""Run a re-score in this process, without Dagster, for machines where no daemon runs.

It calls the same functions in the same order as the assets. It also has a row in `rescores`, so it
is visible, and is finished or cancelled like any other. If it is killed, the next request continues
it, because only stale ads are scored.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import date

from ops.errors import NotReadyError
from ops.tasks import all_tasks
from ops.types import ProgressCallback
from resources.catalogue.stale_photos import Catalogue
from resources.inference.batch_release import load_heads, load_to_embed
from resources.postgres.database import Database
from resources.releases.coverage import DayState, close_complete_days, read_coverage
from resources.releases.installed_tasks import tasks_off
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, at_work, mark_cancelled, mark_done, starting
from resources.rescoring.embed_and_score import ScoreOptions, embed_days, score_days
from resources.rescoring.steps import WARM_WITHIN_S, Stage, make_candidate
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

DAYS_AT_ONCE = 7
"""Days that are scored between two reads of the coverage."""


def rescore_in_process(
    database: Database,
    settings: Settings,
    row: Rescore,
    *,
    on_progress: ProgressCallback = lambda _: None,
) -> None:
    """Re-score the catalogue under a release, some days at a time.

    Raises:
        NotReadyError: the release can't become active now, or days remain unscored because photos
            are missing from the store.
    """
    release = find_release(database, row.release)
    # The sensor skips the row while this lock is held, and takes it over if this process dies.
    with at_work(database, row.backfill_id):
        wait_until_candidate(database, row, on_progress=on_progress)
        with starting(database, row) as is_unfinished:
            if not is_unfinished:
                return
        run_id = f"here-{uuid.uuid4().hex[:12]}"
        incomplete = [
            state
            for days in _spans(read_coverage(database, release.name).unscored)
            for state in _rescore_days(
                database, settings, release, days, run_id=run_id, on_progress=on_progress
            )
            if not state.complete
        ]
    if incomplete:
        mark_cancelled(database, row)
        unembedded = sum(state.unembedded for state in incomplete)
        raise NotReadyError(
            f"{len(incomplete)} days are still unscored under {release.name}, the first "
            f"{incomplete[0].day}: {sum(state.unscored for state in incomplete)} ads not scored, "
            f"{unembedded} photos not embedded. Photos that are missing from the store must be "
            "fetched again: materialize `ad_photos` of those days."
        )
    mark_done(database, row)


def wait_until_candidate(
    database: Database, row: Rescore, *, on_progress: ProgressCallback
) -> None:
    """Announce the attempt's release and make it the candidate once sessions have loaded it.

    Raises:
        NotReadyError: it has not passed its gate, or there is another candidate.
    """
    began, last = time.monotonic(), ""
    while True:
        step = make_candidate(database, row, announced_s=time.monotonic() - began)
        if step is None:
            return
        if step.stage is not Stage.ANNOUNCED:
            raise NotReadyError(step.message)
        if step.message != last:
            on_progress(f"{step.message} (at most {WARM_WITHIN_S:.0f} s)")
            last = step.message
        time.sleep(0.2)


def _rescore_days(
    database: Database,
    settings: Settings,
    release: RegisteredRelease,
    days: Sequence[date],
    *,
    run_id: str,
    on_progress: ProgressCallback,
) -> tuple[DayState, ...]:
    """Embed, score and close some days."""
    store = ReleaseStore(settings.resolved_store_url)
    catalogue = Catalogue(database, run_id=run_id)
    if next(catalogue.photos_to_embed(days, release.backbone, chunk=1), None) is not None:
        ready, embedders = load_to_embed(release, store, settings)
        photos = PhotoStore(settings.resolved_store_url)
        report = embed_days(catalogue, ready, embedders, photos, days, on_progress=lambda _: None)
        failed = f", {len(report.failed)} failed: see the log" if report.failed else ""
        on_progress(f"{days[0]} to {days[-1]}: {report.embedded} photos embedded{failed}")
    ready = load_heads(release, store)
    options = ScoreOptions(rows_per_s=settings.rescore_rows_per_s)
    off = tasks_off(settings, all_tasks())
    for task in all_tasks():
        if task.name in release.tasks:
            score_days(
                *(catalogue, ready, task, days),
                on_progress=lambda _: None,
                options=options,
                store_url=settings.resolved_store_url,
                off=off,
            )
    return close_complete_days(database, release, days, off)


def _spans(days: Sequence[date]) -> Iterator[Sequence[date]]:
    for first in range(0, len(days), DAYS_AT_ONCE):
        yield days[first : first + DAYS_AT_ONCE]
