"""The options of `lalafo bench quality`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench quality --count 30", "on drawn photos, in a minute"),
    ("lalafo bench quality --photos photos", "on those of a folder, and of folders in it"),
    ("lalafo bench quality --json | jq .correlation", "nothing but the JSON document"),
    reads="the photos of DIR, or photos that it draws",
    writes="nothing",
    settings=(),
)
def bench_quality(
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of real photos; may be repeated. Photos are degraded in memory. Of each "
            "folder, half is left out: the constants may have been fitted on it.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Photos of each folder.")] = 60,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Judge the scores of the task quality on photos that are degraded by known amounts.

    Rank correlation of score and amount by kind of defect, and the share of good photos that are
    flagged.
    """
    from lalafo_assets.bench.quality.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(photos or [], photos=count, on_progress=on_progress)
    print(line)  # noqa: T201 - the result
