"""The asset `release_diff`: what a promotion would change, in numbers and pictures.

Decides what a person sees before a flip; the counting is `resources/releases/diff.py`'s. It can be
materialised at any time: while days are owed it says how many, and compares what there is.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.assets.release_scores import release_scores
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import Metadata, as_metadata
from ops.errors import NotReadyError
from ops.tasks import all_tasks
from resources.catalogue.summaries import readable
from resources.dagster.names import OWNERS, RELEASE_DIFF
from resources.dagster.resources import DatabaseResource, PhotosResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.diff import ReleaseDiff, TaskDiff, compare, examples
from resources.storage.photos import PhotoStore

TOP_MOVES = 30
EXAMPLES = 24


@dg.asset(
    deps=[dg.AssetDep(release_scores, partition_mapping=dg.AllPartitionMapping())],
    group_name="models",
    kinds={"postgres", "matplotlib"},
    owners=OWNERS,
    code_version="1",
    key=RELEASE_DIFF,
    description=(
        "The candidate against the live release over every ad that both have scored: how many "
        "change their label, between which, how scores and prices move, and examples. Without a "
        "candidate: the live release against the one before it."
    ),
)
def release_diff(
    context: dg.AssetExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> dg.MaterializeResult[None]:
    """Compare, and show."""
    with plain_failures(), closing(database.open()) as held:
        found = read_diff(held)
        for line in summary(found):
            context.log.info(line)
        return dg.MaterializeResult(metadata=diff_metadata(held, photos.store(), found))


def diff_metadata(database: Database, store: PhotoStore, found: ReleaseDiff) -> Metadata:
    """What the asset shows: numbers, tables and pictures."""
    metadata: Metadata = {
        "live": dg.MetadataValue.text(found.live),
        "candidate": dg.MetadataValue.text(found.candidate),
        "days": dg.MetadataValue.int(found.days),
        "days_unscored": dg.MetadataValue.int(found.unscored),
    }
    for task in found.tasks:
        metadata |= _task_metadata(task)
        metadata |= as_metadata(_pictures(database, store, found, task))
    return metadata


def read_diff(database: Database) -> ReleaseDiff:
    """The candidate against the live release; without one, the live against the one before.

    Raises:
        NotReadyError: there is neither a candidate nor a previous release.
    """
    active = read_active_releases(database)
    live, other = active.live, active.candidate
    if other is None:
        if active.previous is None:
            raise NotReadyError(
                f"{live.name} is the only release in force: there is nothing to compare it with. "
                "`lalafo rescore NAME` makes a release the candidate."
            )
        live, other = active.previous, active.live
    tasks = [task for task in all_tasks() if task.name in live.tasks or task.name in other.tasks]
    return compare(database, live=live.name, candidate=other.name, tasks=tasks)


def summary(diff: ReleaseDiff) -> list[str]:
    """The comparison in a line a task, and what is missing of it."""
    lines = [
        f"{task.task}: {task.changed} of {task.ads} ads change their label"
        f" ({task.changed / max(task.ads, 1):.1%})"
        + (f"; {task.only_live} not compared" if task.only_live else "")
        for task in diff.tasks
    ]
    if diff.unscored:
        lines.append(
            f"not complete: {diff.unscored} of {diff.days} days are owed by {diff.candidate}"
        )
    return lines


def _task_metadata(task: TaskDiff) -> Metadata:
    name = task.task
    metadata: Metadata = {
        f"{name}_ads": dg.MetadataValue.int(task.ads),
        f"{name}_changed": dg.MetadataValue.int(task.changed),
        f"{name}_changed_share": dg.MetadataValue.float(round(task.changed / max(task.ads, 1), 5)),
        f"{name}_only_live": dg.MetadataValue.int(task.only_live),
        f"{name}_moves": dg.MetadataValue.md(_moves_table(task)),
    }
    if task.number is not None:
        metadata[f"{name}_p50_moved"] = dg.MetadataValue.float(task.number.p50)
        metadata[f"{name}_p10_moved"] = dg.MetadataValue.float(task.number.p10)
        metadata[f"{name}_p90_moved"] = dg.MetadataValue.float(task.number.p90)
        metadata[f"{name}_beyond_a_tenth"] = dg.MetadataValue.int(task.number.beyond_a_tenth)
    return metadata


def _moves_table(task: TaskDiff) -> str:
    lines = ["| live | candidate | ads |", "|---|---|--:|"]
    moves = task.top_moves(TOP_MOVES)
    lines += [f"| {before} | {after} | {count} |" for before, after, count in moves]
    return "\n".join(lines) if moves else "no ad changes its label"


def _pictures(
    database: Database, store: PhotoStore, diff: ReleaseDiff, task: TaskDiff
) -> dict[str, bytes]:
    from ops.pictures.previews import contact_sheet
    from ops.pictures.release_diff import flow_matrix, shift_bars

    found = examples(
        database, live=diff.live, candidate=diff.candidate, task=task.task, limit=EXAMPLES
    )
    sheet = readable(
        store, [(item.rendition_sha256, f"{item.live}\n-> {item.candidate}") for item in found]
    )
    labels, matrix = task.matrix(TOP_MOVES)
    return {
        f"{task.task}_matrix": flow_matrix(matrix, labels),
        f"{task.task}_score_shift": shift_bars(task.shifts),
        f"{task.task}_examples": contact_sheet(sheet),
    }
