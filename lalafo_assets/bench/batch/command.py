"""The options of `lalafo bench batch`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench batch --count 256 --rounds 1", "a short one"),
    ("lalafo bench batch --all-tasks", "with price, quality and moderation"),
    ("lalafo bench batch --task segments", "with one task more, and what a photo of it costs"),
    ("lalafo bench batch --json > batch.json", "nothing but the JSON document"),
    reads="photos that it draws, or yours",
    writes="a folder for temporary files, which it removes",
    settings=("device", "torch_threads"),
)
def bench_batch(
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=64, help="Number of photos, all distinct.")] = 2_000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Alternating runs of both; the result is their median.")
    ] = 3,
    all_tasks: Annotated[
        bool,
        typer.Option(
            "--all-tasks", help="A release that answers price, quality and moderation too."
        ),
    ] = False,
    task: Annotated[
        str,
        typer.Option(help="A task that learns nothing, such as segments, beside the category."),
    ] = "",
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Photos a second of the asset path, compared with a baseline of the same work in the same run.

    Both read stored photos, decode, embed and predict them, and write to a PostgreSQL with fsync
    on. The baseline is a script of two processes without resumption, checks or Dagster; it predicts
    the category alone. The document says how long each task took.
    """
    from lalafo_assets.bench.batch.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(
            photos=photos,
            count=count,
            rounds=rounds,
            all_tasks=all_tasks,
            task=task,
            on_progress=on_progress,
        )
    print(line)  # noqa: T201 - the result
