"""The asset checks on a day's rows, whether a session or a run of an asset wrote them.

The queries are in `resources/catalogue/checks.py`. A session evaluates all checks for its days when
it ends; a run of an asset evaluates the checks of that asset.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from ops.tasks import Task, all_tasks
from resources.catalogue.checks import (
    Finding,
    embeddings_are_unit_vectors,
    every_photo_is_accounted_for,
    no_label_above_its_usual_share,
)
from resources.dagster.names import AD_PHOTOS, PHOTO_EMBEDDINGS
from resources.dagster.partitions import days_of_run
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases

PHOTOS_CHECK = "in_is_out_plus_failed"
EMBEDDINGS_CHECK = "unit_vectors"
SHARES_CHECK = "no_label_above_its_usual_share"

Question = Callable[[Database, list[date]], Finding]


def check_days(database: Database, days: Sequence[date]) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the evaluation of every check of the catalogue's assets, over these days together."""
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
    """Yield (asset, check name, finding) of every check, over these days together."""
    live = read_active_releases(database).live
    yield AD_PHOTOS, PHOTOS_CHECK, every_photo_is_accounted_for(database, days)
    unit = embeddings_are_unit_vectors(database, days, live.backbone)
    yield PHOTO_EMBEDDINGS, EMBEDDINGS_CHECK, unit
    for task in all_tasks():
        share = no_label_above_its_usual_share(database, days, live.name, task.name)
        yield dg.AssetKey(task.asset_name), SHARES_CHECK, share


def severity_of(check: str) -> dg.AssetCheckSeverity:
    """Return WARN for label shares, which the market itself may shift, and ERROR for the rest."""
    is_warning = check == SHARES_CHECK
    return dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR


def _check(
    asset: dg.AssetKey, name: str, description: str, question: Question
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description)
    def check(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> dg.AssetCheckResult:
        with plain_failures(), closing(database.open()) as db:
            finding = question(db, days_of_run(context.run.tags))
        return dg.AssetCheckResult(
            passed=finding.passed,
            description=finding.description,
            metadata=dict(finding.figures),
            severity=severity_of(name),
        )

    return check


def _unit(database: Database, covered: list[date]) -> Finding:
    live = read_active_releases(database).live
    return embeddings_are_unit_vectors(database, covered, live.backbone)


def _shares(task: Task) -> Question:
    def ask(database: Database, covered: list[date]) -> Finding:
        live = read_active_releases(database).live
        return no_label_above_its_usual_share(database, covered, live.name, task.name)

    return ask


checks = [
    _check(
        AD_PHOTOS,
        PHOTOS_CHECK,
        "Every photo of an ad is either stored or has a row in `failures`.",
        every_photo_is_accounted_for,
    ),
    _check(
        PHOTO_EMBEDDINGS,
        EMBEDDINGS_CHECK,
        "Every stored photo has an embedding of unit length under the live release's backbone.",
        _unit,
    ),
    *(
        _check(
            dg.AssetKey(task.asset_name),
            SHARES_CHECK,
            "No label has a much larger share of a day's ads than in the 14 days before.",
            _shares(task),
        )
        for task in all_tasks()
    ),
]
