"""A re-score in this process, without Dagster: for machines where no daemon runs.

The same functions in the same order as the assets'; a row in `rescores` all the same, so that it is
seen, and finished or cancelled as any other. Killed, it goes on where it was when it is asked for
again: only what is stale is touched.
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
from resources.releases.coverage import DayState, read_coverage, settle
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, at_work, mark_cancelled, mark_done, starting
from resources.rescoring.stages import ScoreOptions, embed_days, score_days
from resources.rescoring.steps import WARM_WITHIN_S, Stage, make_candidate
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

DAYS_AT_ONCE = 7
"""Between two looks at how far it is."""


def rescore_here(
    database: Database,
    settings: Settings,
    row: Rescore,
    *,
    on_progress: ProgressCallback = lambda _: None,
) -> None:
    """Bring the catalogue to a release, day after day.

    Raises:
        NotReadyError: the release can't come in force now, or days stay owed: photos are missing
            from the store.
    """
    known = find_release(database, row.release)
    # The sensor leaves the row alone while this holds it, and takes it over if we are killed.
    with at_work(database, row.backfill_id):
        wait_until_candidate(database, row, on_progress=on_progress)
        with starting(database, row) as wanted:
            if not wanted:
                return
        run_id = f"here-{uuid.uuid4().hex[:12]}"
        left = [
            state
            for days in _spans(read_coverage(database, known.name).unscored)
            for state in _bring(
                database, settings, known, days, run_id=run_id, on_progress=on_progress
            )
            if not state.complete
        ]
    if left:
        mark_cancelled(database, row)
        unembedded = sum(state.unembedded for state in left)
        raise NotReadyError(
            f"{len(left)} days are still unscored under {known.name}, the first {left[0].day}: "
            f"{sum(state.unscored for state in left)} ads not scored, {unembedded} photos not "
            "embedded. Photos that are missing from the store must be fetched again: materialise "
            "`ad_photos` of those days."
        )
    mark_done(database, row)


def wait_until_candidate(
    database: Database, row: Rescore, *, on_progress: ProgressCallback
) -> None:
    """Announce the row's release and propose it once sessions have loaded it.

    Raises:
        NotReadyError: its gate has not let it through, or another candidate is in force.
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


def _bring(
    database: Database,
    settings: Settings,
    known: RegisteredRelease,
    days: Sequence[date],
    *,
    run_id: str,
    on_progress: ProgressCallback,
) -> tuple[DayState, ...]:
    """Embed, score and close some days."""
    store = ReleaseStore(settings.resolved_store_url)
    catalogue = Catalogue(database, run_id=run_id)
    if next(catalogue.photos_to_embed(days, known.backbone, chunk=1), None) is not None:
        ready, embedders = load_to_embed(known, store, settings)
        photos = PhotoStore(settings.resolved_store_url)
        report = embed_days(catalogue, ready, embedders, photos, days, on_progress=lambda _: None)
        on_progress(f"{days[0]} to {days[-1]}: {report.embedded} photos embedded")
    ready = load_heads(known, store)
    options = ScoreOptions(rows_per_s=settings.rescore_rows_per_s)
    for task in all_tasks():
        if task.name in known.tasks:
            score_days(catalogue, ready, task, days, on_progress=lambda _: None, options=options)
    return settle(database, known, days)


def _spans(days: Sequence[date]) -> Iterator[Sequence[date]]:
    for first in range(0, len(days), DAYS_AT_ONCE):
        yield days[first : first + DAYS_AT_ONCE]
