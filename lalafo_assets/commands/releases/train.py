"""`lalafo train` and `lalafo releases check`: the assets' own code, from the command line.

Decides options, progress and words. What is made here is reported to Dagster too, where one is
configured, so that lineage is whole.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from resources.settings import load_settings

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, AssetMaterialization

    from ops.training.gate import Verdict
    from ops.training.make_release import StepProgress
    from resources.storage.stores import Stores
    from resources.training.train import FrozenSet, Trained

console = new_console()


def train(
    home: Home = DEFAULT_HOME,
    seed: Annotated[int, typer.Option(help="Of the training; the same gives the same digest.")] = 0,
    backbone: Annotated[
        str, typer.Option(help="'live': the live release's, as it is; else a torchvision name.")
    ] = "live",
    weights: Annotated[
        str,
        typer.Option(
            help="Of a named backbone: auto, starter, pretrained, or file:PATH.safetensors."
        ),
    ] = "auto",
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the backbone too: minutes to hours.")
    ] = False,
    epochs: Annotated[float, typer.Option(min=0.01, help="Of a fine-tune.")] = 8.0,
) -> None:
    """Make a release of the labels in the catalogue, and judge it against the live one.

    Ends with status 1 where the gate refuses it.
    """
    from lalafo_assets.starter import starter_state
    from resources.inference.loading import install
    from resources.storage.stores import Stores
    from resources.training.gate import check_release
    from resources.training.train import TrainingOptions, freeze_training_set, train_release

    options = TrainingOptions(
        seed=seed,
        backbone=backbone,
        weights=weights,
        finetune=finetune,
        epochs=epochs,
        starter=starter_state,
    )
    with closing(open_database(home)) as database, _bars(console) as on_progress:
        settings = load_settings()
        stores = Stores.of(settings.resolved_store_url)
        on_progress("freezing the training set", 0, 1)
        frozen = freeze_training_set(database, stores, settings)
        on_progress("freezing the training set", 1, 1)
        trained = train_release(
            database, stores, settings, frozen.digest, options, on_progress=on_progress
        )
        known = install(database, stores.releases, trained.made.release)
        verdict = check_release(database, stores, settings, known.name, on_progress=on_progress)
        _report(frozen, trained, verdict, stores)
    console.print(_summary(frozen, trained))
    _close(verdict)


def check_command(
    name: Annotated[str, typer.Argument(help="Of the release; its first letters will do.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """Judge a release against the live one on held-out photos; status 1 where it is refused."""
    from resources.storage.stores import Stores
    from resources.training.gate import check_release

    with closing(open_database(home)) as database, _bars(console) as on_progress:
        settings = load_settings()
        stores = Stores.of(settings.resolved_store_url)
        verdict = check_release(database, stores, settings, name, on_progress=on_progress)
    _close(verdict)


@contextmanager
def _bars(shown_on: Console) -> "Iterator[StepProgress]":
    """A progress bar for each stage, as it comes."""
    bars: dict[str, TaskID] = {}
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=None),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=shown_on,
    ) as progress:

        def on_progress(what: str, done: int, of: int) -> None:
            stage = what.partition(" (")[0]
            if stage not in bars:
                bars[stage] = progress.add_task(what, total=of)
            progress.update(bars[stage], description=what, completed=done, total=of)

        yield on_progress


def _report(frozen: "FrozenSet", trained: "Trained", verdict: "Verdict", stores: "Stores") -> None:
    """Tell Dagster what was made, as its own runs would; nothing where none is configured."""
    if os.environ.get("DAGSTER_HOME", "") == "":
        return
    import dagster as dg

    from lalafo_assets.reports.training import (
        TRAINING_SET,
        check_evaluations,
        release_metadata,
        set_metadata,
    )
    from resources.dagster.names import MODEL_RELEASE

    made: Sequence[AssetMaterialization | AssetCheckEvaluation] = (
        dg.AssetMaterialization(
            TRAINING_SET, metadata=set_metadata(frozen, stores.photos, stores.training)
        ),
        dg.AssetMaterialization(
            MODEL_RELEASE,
            metadata=release_metadata(trained, stores.photos, live=verdict.against == verdict.name),
        ),
        *check_evaluations(verdict),
    )
    with dg.DagsterInstance.get() as instance:
        for event in made:
            instance.report_runless_asset_event(event)


def _summary(frozen: "FrozenSet", trained: "Trained") -> Table:
    table = Table(show_header=False, title=trained.made.release.manifest.name)
    sources = [e.photo.source for e in frozen.content.examples]
    table.add_row(
        "training set",
        f"{frozen.digest[:12]}: {len(sources)} photos, {sources.count('person')} of them labelled "
        "by people",
    )
    for task, judged in trained.made.tasks.items():
        held_out = judged.held_out
        table.add_row(
            task,
            f"{held_out['accuracy']:.1%} of {held_out['count']} held-out photos, "
            f"{len(judged.head.labels)} labels",
        )
        for baseline, value in judged.baselines.items():
            table.add_row("", f"{baseline.replace('_', ' ')}: {value:.1%}")
        if judged.left_out:
            table.add_row("", f"too few photos to learn: {', '.join(judged.left_out)}")
    for task, why in trained.not_learned.items():
        table.add_row(task, f"not learned: {why}")
    return table


def _close(verdict: "Verdict") -> None:
    """The verdict as a table, and what to do next; status 1 where it is refused."""
    against = verdict.against or "nothing: no release is live"
    table = Table("measure", "candidate against live", title=f"{verdict.name} against {against}")
    for finding in verdict.findings:
        mark = "[green]✓[/]" if finding.passed else "[red]✗[/]"
        table.add_row(f"{mark} {finding.measure}", "\n".join((finding.message, *finding.why)))
    console.print(table)
    for note in verdict.notes:
        console.print(f"[dim]{note}[/]", highlight=False)
    if not verdict.passed:
        console.print("[red]The gate refuses it.[/] It stays installed, and scores nothing.")
        raise typer.Exit(1)
    if verdict.against == verdict.name:
        console.print("It is the live release: there is nothing to do.")
    elif verdict.against is None:
        console.print("Next: a first release is made live by `lalafo releases install`")
    else:
        console.print(f"Next: lalafo rescore {verdict.name}", soft_wrap=True, highlight=False)
