"""The options of `lalafo bench duplicates`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench duplicates --count 30", "on drawn photos, in two minutes"),
    ("lalafo bench duplicates --photos photos", "on those of a folder, and of folders in it"),
    ("lalafo bench duplicates --json | jq .recall", "nothing but the JSON document"),
    ("lalafo bench duplicates --rows 10000,100000", "how long candidates take, by ads"),
    ("lalafo bench duplicates --live --photos photos", "how soon duplicates of new ads are found"),
    reads="the photos of DIR, or photos that it draws",
    writes="with --rows and --live a PostgreSQL of its own in a temporary folder, which it removes",
    settings=("background_priority",),
)
def bench_duplicates(
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of real photos; may be repeated. Photos are altered in memory. Of each "
            "folder, half is left out: the constants may have been fitted on it.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=3, help="Photos of each folder.")] = 60,
    rows: Annotated[
        str,
        typer.Option(
            metavar="N,…",
            help="Instead: how long the look-ups of an ad's candidates take with so many ads.",
        ),
    ] = "",
    searches: Annotated[int, typer.Option(min=10, help="With --rows: of each size.")] = 200,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Instead: from an ad's commit to its duplicates, while ads come; with the photos "
            "of the folders, and drawn ones where they are too few.",
        ),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="With --live: ads a second.")] = 20.0,
    seconds: Annotated[float, typer.Option(min=1, help="With --live: of ads that come.")] = 60.0,
    before: Annotated[
        int, typer.Option(min=0, help="With --live: ads that are there before, of one photo.")
    ] = 1_000,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Judge which photos are found to be the same, on copies that are altered in known ways.

    Recall by alteration and precision, beside PDQ, pHash and embeddings alone on the same pairs.
    """
    if rows:
        from lalafo_assets.bench.duplicates.growth import run_growth

        sizes = [int(size) for size in rows.split(",")]
        print(run_growth(sizes, searches=searches, console=bench_console(json_only)))  # noqa: T201
        return
    if live:
        from lalafo_assets.bench.duplicates.live.run import LiveBench, run_live

        asked = LiveBench(photos or [], rate, seconds, before)
        print(run_live(asked, bench_console(json_only)))  # noqa: T201
        return
    from lalafo_assets.bench.duplicates.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(photos or [], photos=count, on_progress=on_progress)
    print(line)  # noqa: T201 - the result
