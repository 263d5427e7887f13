"""`lalafo train` and `lalafo releases check`: trains and evaluates a release in this process.

Owns the options, progress bars and messages. The training set, the release and the result of the
gate are reported to Dagster, if one is configured, so that the lineage is complete.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import TaskID
from rich.text import Text

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from lalafo_assets.commands.releases.dagster_report import has_dagster
from lalafo_assets.commands.terminal.bars import new_bars
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Cell, print_facts
from resources.settings import load_settings

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, AssetMaterialization

    from ops.training.make_release import StepProgress
    from ops.training.verdict import Finding, Verdict
    from resources.storage.stores import Stores
    from resources.training.train import FrozenSet, Trained

_COLOURS = {"✓": "green", "✗": "red", "-": "yellow"}
_BASELINES = {
    "logistic_regression_accuracy": "scikit-learn's logistic regression",
    "majority_accuracy": "the majority class",
}


@help_page(
    ("lalafo train", "a head on the live release's backbone"),
    ("lalafo train --backbone auto", "pretrained weights that are here: EfficientNet-Lite0"),
    ("lalafo train --backbone mobilenet_v3_large", "another backbone, with `--weights`"),
    ("lalafo train --finetune --epochs 4", "the backbone too; minutes to hours"),
    ("lalafo train --foreground", "on the goods alone, without their background"),
    reads="PostgreSQL: labels of sellers and people; the photo store",
    writes="the training set and the release in the store; PostgreSQL: the release and its gate",
    settings=("home", "device", "training_photos", "training_min_photos", "gate_accuracy_margin"),
    failure="the release failed the gate, or no release can be trained; the message says why",
)
def train(
    home: Home = DEFAULT_HOME,
    seed: Annotated[
        int, typer.Option(help="Seed of the training. The same seed gives the same digest.")
    ] = 0,
    backbone: Annotated[
        str,
        typer.Option(
            help="'live' uses the live release's backbone unchanged; 'auto' the best one whose "
            "weights are here; otherwise a name of `lalafo backbones`."
        ),
    ] = "live",
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights of a backbone given by name: auto, starter, pretrained, or "
            "file:PATH (.safetensors or .pth)."
        ),
    ] = "auto",
    finetune: Annotated[
        bool,
        typer.Option("--finetune", help="Train the backbone too. This takes minutes to hours."),
    ] = False,
    epochs: Annotated[float, typer.Option(min=0.01, help="Epochs of fine-tuning.")] = 8.0,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Embed the goods alone, cut out by the shipped network of segments. All photos "
            "are embedded again, and a new one takes some 20 ms more.",
        ),
    ] = False,
) -> None:
    """Train a release on the labels in the catalogue, and compare it with the live one.

    Ends with status 1 if the release fails the gate.
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
        foreground=foreground,
        starter=starter_state,
    )
    console = new_console()
    with closing(open_database(home)) as database, _bars(console) as on_progress:
        is_reported = has_dagster()  # raises before the work begins
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
        if is_reported:
            _report(frozen, trained, verdict, stores)
    print_facts(console, _summary(frozen, trained), title=trained.made.release.manifest.name)
    print_verdict(verdict, console)


@help_page(
    ("lalafo releases check NAME", "NAME: a name or digest, or its beginning"),
    reads="PostgreSQL: labels; the photo store and the release store",
    writes="PostgreSQL: the result of the gate",
    settings=("home", "gate_accuracy_margin", "gate_recall_margin", "gate_min_photos"),
    failure="the release failed the gate, or could not be judged",
)
def check_command(
    name: Annotated[
        str, typer.Argument(help="Name or digest of the release; a unique prefix is enough.")
    ],
    home: Home = DEFAULT_HOME,
) -> None:
    """Compare a release with the live one on held-out photos (the gate).

    Ends with status 1 if the release fails the gate.
    """
    from resources.storage.stores import Stores
    from resources.training.gate import check_release

    console = new_console()
    with closing(open_database(home)) as database, _bars(console) as on_progress:
        settings = load_settings()
        stores = Stores.of(settings.resolved_store_url)
        verdict = check_release(database, stores, settings, name, on_progress=on_progress)
    print_verdict(verdict, console)


@contextmanager
def _bars(target: Console) -> "Iterator[StepProgress]":
    """Show a progress bar for each stage; call the yielded function to update it."""
    bars: dict[str, TaskID] = {}
    with new_bars(target) as progress:

        def on_progress(what: str, done: int, of: int) -> None:
            stage = what.partition(" (")[0]
            if stage not in bars:
                bars[stage] = progress.add_task(what, total=of)
            progress.update(bars[stage], description=what, completed=done, total=of)

        yield on_progress


def _report(frozen: "FrozenSet", trained: "Trained", verdict: "Verdict", stores: "Stores") -> None:
    """Report the results to Dagster, as a run of the assets would."""
    import dagster as dg

    from lalafo_assets.reports.training import (
        TRAINING_SET,
        check_evaluations,
        release_metadata,
        set_metadata,
    )
    from resources.dagster.names import MODEL_RELEASE

    events: Sequence[AssetMaterialization | AssetCheckEvaluation] = (
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
        for event in events:
            instance.report_runless_asset_event(event)


def _summary(frozen: "FrozenSet", trained: "Trained") -> Iterator[tuple[str, Cell]]:
    from ops.models.categories.measures import tree_figures

    sources = [e.photo.source for e in frozen.content.examples]
    yield (
        "training set",
        f"{frozen.digest[:12]}: {len(sources)} photos, {sources.count('person')} of them labelled "
        "by people",
    )
    if frozen.content.ads:
        yield "", f"{len(frozen.content.ads)} ads for tasks that learn from what sellers write"
    for task, judged in trained.made.tasks.items():
        yield task, f"{len(judged.head.labels)} labels"
        yield "accuracy", f"{judged.accuracy} of held-out photos"
        for name, text in tree_figures(judged.held_out):
            yield "", f"{name}: {text}"
        for baseline, value in judged.baselines.items():
            yield "", f"{_BASELINES.get(baseline, baseline)}: {value:.1%}"
        if judged.behind_baseline is not None:
            yield "", judged.behind_baseline
        if judged.left_out:
            yield "", f"labels with too few photos: {', '.join(judged.left_out)}"
    for task, of_ads in trained.made.of_ads.items():
        measures = of_ads.held_out
        yield task, f"{measures['count']} held-out ads"
        for name, value in measures.items():
            if name != "count" and isinstance(value, int | float):
                yield "", f"{name}: {value:.3f}"
    for task, why in trained.not_learned.items():
        yield task, f"not trained: {why}"


def print_verdict(verdict: "Verdict", console: Console) -> None:
    """Print the result of the gate and the next step; exit with status 1 if it failed."""
    against = f"against {verdict.against}" if verdict.against else "(no release is live)"
    console.print()
    console.print(Text(f"{verdict.name} {against}", style="bold"), soft_wrap=True)
    print_facts(console, [_judged(finding) for finding in verdict.findings])
    for note in verdict.notes:
        console.print(Text(note, style="dim"), soft_wrap=True)
    if not verdict.passed:
        console.print("[red]The release failed the gate.[/] It stays installed, but scores no ads.")
        raise typer.Exit(1)
    if verdict.against == verdict.name:
        console.print("It is already the live release: there is nothing to do.")
    elif verdict.against is None:
        console.print("Next: make a first release live with `lalafo releases install`")
    else:
        console.print(f"Next: lalafo rescore {verdict.name}", soft_wrap=True, highlight=False)


def _judged(finding: "Finding") -> tuple[str, Cell]:
    mark = (f"{finding.mark} ", _COLOURS[finding.mark])
    return finding.measure, Text.assemble(mark, "\n".join((finding.message, *finding.why)))
