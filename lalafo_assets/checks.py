"""The asset checks: what must hold of a day's rows, whoever wrote them.

The questions are `resources/day_checks.py`'s. A session evaluates them for its days at its end;
a run of an asset evaluates its own.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import date

import dagster as dg

from lalafo_assets.partitions import days_of_run
from ops.asset_names import AD_PHOTOS, PHOTO_EMBEDDINGS
from ops.dagster_ops import (
    EMBEDDINGS_CHECK,
    PHOTOS_CHECK,
    SHARES_CHECK,
    plain_failures,
    severity_of,
)
from ops.tasks import Task, all_tasks
from resources.dagster_resources import DatabaseResource
from resources.database import Database
from resources.day_checks import (
    Finding,
    embeddings_are_unit_vectors,
    every_photo_is_accounted_for,
    no_label_above_its_usual_share,
)
from resources.releases_in_force import read_in_force

Question = Callable[[Database, list[date]], Finding]


def _check(
    asset: dg.AssetKey, name: str, description: str, question: Question
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=description)
    def check(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> dg.AssetCheckResult:
        with plain_failures(), closing(database.open()) as held:
            finding = question(held, days_of_run(context.run.tags))
        return dg.AssetCheckResult(
            passed=finding.passed,
            description=finding.description,
            metadata=dict(finding.figures),
            severity=severity_of(name),
        )

    return check


def _unit(database: Database, covered: list[date]) -> Finding:
    live = read_in_force(database).live
    return embeddings_are_unit_vectors(database, covered, live.backbone)


def _shares(task: Task) -> Question:
    def ask(database: Database, covered: list[date]) -> Finding:
        live = read_in_force(database).live
        return no_label_above_its_usual_share(database, covered, live.name, task.name)

    return ask


checks = [
    _check(
        AD_PHOTOS,
        PHOTOS_CHECK,
        "Each photo of an ad is stored, or has its row in `failures`.",
        every_photo_is_accounted_for,
    ),
    _check(
        PHOTO_EMBEDDINGS,
        EMBEDDINGS_CHECK,
        "Each stored photo has an embedding of unit length under the live backbone.",
        _unit,
    ),
    *(
        _check(
            dg.AssetKey(task.asset_name),
            SHARES_CHECK,
            "No label takes far more of a day's ads than in the 14 days before.",
            _shares(task),
        )
        for task in all_tasks()
    ),
]
