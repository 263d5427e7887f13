"""The asset `release_diff`: what a promotion would change, in numbers and pictures.

Owns what a person sees before a promotion; `resources/releases/diff.py` computes the numbers. The
asset can be materialized at any time: while days are unscored, it reports how many and compares the
ads that both releases have scored.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.assets.release_scores import release_scores
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.reports.pictures import as_metadata
from ops.errors import NotReadyError
from ops.tasks import all_tasks
from resources.catalogue.pictures import mask_examples
from resources.catalogue.summaries import readable
from resources.dagster.names import OWNERS, RELEASE_DIFF
from resources.dagster.resources import DatabaseResource, PhotosResource
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.diff import ReleaseDiff, TaskDiff, change_bins, compare, examples
from resources.storage.photos import PhotoStore

TOP_MOVES = 30
EXAMPLES = 24
MASK_EXAMPLES = 10


@dg.asset(
    deps=[dg.AssetDep(release_scores, partition_mapping=dg.AllPartitionMapping())],
    group_name="models",
    kinds={"postgres", "matplotlib"},
    owners=OWNERS,
    code_version="1",
    key=RELEASE_DIFF,
    description=(
        "What a promotion would change, for the person who promotes it: how many ads change "
        "their label, between which labels, how scores and prices change, and examples. It has no "
        "table: the metadata of the latest materialization are the comparison, over every ad in "
        "`lalafo.predictions` that both releases have scored. Made anew when a candidate is "
        "complete; without a candidate it compares the live release with the previous one."
    ),
)
def release_diff(
    context: dg.AssetExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> dg.MaterializeResult[None]:
    """Compare two releases and show the result as metadata."""
    with plain_failures(), closing(database.open()) as db:
        diff = read_diff(db)
        for line in summary(diff):
            context.log.info(line)
        return dg.MaterializeResult(metadata=diff_metadata(db, photos.store(), diff))


def diff_metadata(database: Database, store: PhotoStore, diff: ReleaseDiff) -> Metadata:
    """Return the asset's metadata: numbers, tables and pictures."""
    # Without a candidate the live release is compared with the previous one.
    is_promoted = read_active_releases(database).live.name == diff.candidate
    before, after = ("previous", "live") if is_promoted else ("live", "candidate")
    metadata: Metadata = {
        before: dg.MetadataValue.text(diff.live),
        after: dg.MetadataValue.text(diff.candidate),
        "days": dg.MetadataValue.int(diff.days),
        "days_unscored": dg.MetadataValue.int(diff.unscored),
    }
    for task in diff.tasks:
        metadata |= _task_metadata(task, before, after)
        metadata |= as_metadata(_pictures(database, store, diff, task), f"{before}-{after}")
    return metadata


def read_diff(database: Database) -> ReleaseDiff:
    """Compare the candidate with the live release, or without one the live with the previous.

    Raises:
        NotReadyError: there is neither a candidate nor a previous release.
    """
    active = read_active_releases(database)
    live, other = active.live, active.candidate
    if other is None:
        if active.previous is None:
            raise NotReadyError(
                f"{live.name} is the only active release: there is nothing to compare it with. "
                "Run `lalafo rescore NAME` to make a release the candidate."
            )
        live, other = active.previous, active.live
    tasks = [task for task in all_tasks() if task.name in live.tasks or task.name in other.tasks]
    return compare(database, live=live.name, candidate=other.name, tasks=tasks)


def summary(diff: ReleaseDiff) -> list[str]:
    """Return the comparison as one line per task, and a line about unscored days."""
    lines = [
        f"{task.task}: {task.changed} of {task.ads} ads change their label"
        f" ({task.changed / max(task.ads, 1):.1%})"
        + (f"; {task.only_live} ads not compared" if task.only_live else "")
        for task in diff.tasks
    ]
    if diff.unscored:
        lines.append(
            f"not complete: {diff.unscored} of {diff.days} days are unscored under {diff.candidate}"
        )
    return lines


def _task_metadata(task: TaskDiff, before: str, after: str) -> Metadata:
    name = task.task
    metadata: Metadata = {
        f"{name}_ads": dg.MetadataValue.int(task.ads),
        f"{name}_changed": dg.MetadataValue.int(task.changed),
        f"{name}_changed_share": dg.MetadataValue.float(round(task.changed / max(task.ads, 1), 5)),
        f"{name}_only_{before}": dg.MetadataValue.int(task.only_live),
        f"{name}_moves": dg.MetadataValue.md(_moves_table(task, before, after)),
    }
    if task.number is not None:
        metadata[f"{name}_change_p50"] = dg.MetadataValue.float(task.number.p50)
        metadata[f"{name}_change_p10"] = dg.MetadataValue.float(task.number.p10)
        metadata[f"{name}_change_p90"] = dg.MetadataValue.float(task.number.p90)
        metadata[f"{name}_changed_over_10_percent"] = dg.MetadataValue.int(
            task.number.beyond_a_tenth
        )
    if task.masks is not None and task.masks.pairs:
        metadata[f"{name}_masks_compared"] = dg.MetadataValue.int(len(task.masks.pairs))
        metadata[f"{name}_masks_mean_iou"] = dg.MetadataValue.float(
            round(task.masks.mean_iou or 0.0, 4)
        )
        metadata[f"{name}_masks_p10_iou"] = dg.MetadataValue.float(
            round(task.masks.p10_iou or 0.0, 4)
        )
    return metadata


def _moves_table(task: TaskDiff, before: str, after: str) -> str:
    lines = [f"| {before} | {after} | ads |", "|---|---|--:|"]
    moves = task.top_moves(TOP_MOVES)
    lines += [f"| {was} | {becomes} | {count} |" for was, becomes, count in moves]
    return "\n".join(lines) if moves else "no ad changes its label"


def _pictures(
    database: Database, store: PhotoStore, diff: ReleaseDiff, task: TaskDiff
) -> dict[str, bytes]:
    from ops.pictures.previews import contact_sheet
    from ops.pictures.release_diff import change_bars, flow_matrix, shift_bars

    found = examples(
        database, live=diff.live, candidate=diff.candidate, task=task.task, limit=EXAMPLES
    )
    sheet = readable(
        store, [(item.rendition_sha256, f"{item.live}\n-> {item.candidate}") for item in found]
    )
    labels, matrix = task.matrix(TOP_MOVES)
    pictures = {
        f"{task.task}_matrix": flow_matrix(matrix, labels),
        f"{task.task}_score_shift": shift_bars(task.shifts),
        f"{task.task}_examples": contact_sheet(sheet),
    }
    if task.number is not None:
        title = f"Change of {task.task}"
        bars = change_bars(task.number.histogram, change_bins(), title)
        pictures[f"{task.task}_change"] = bars
    if task.masks is not None and task.masks.pairs:
        pictures[f"{task.task}_masks"] = mask_examples(
            store, task.masks.pairs[:MASK_EXAMPLES], diff.live, diff.candidate
        )
    return pictures
