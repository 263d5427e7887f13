"""The options of `lalafo bench growth`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page

MIN_ADS = 1_000


@help_page(
    ("lalafo bench growth --sizes 1000,10000", "a short one"),
    ("lalafo bench growth --json", "nothing but the JSON document"),
    ("lalafo bench growth --chart growth.png", "a chart of all figures"),
    reads="nothing",
    writes="a PostgreSQL of its own in a temporary folder, which it removes: 5 GB per million ads",
)
def bench_growth(
    sizes: Annotated[
        str, typer.Option(help="Numbers of ads, ascending.", metavar="ADS,…")
    ] = "10000,100000,1000000",
    chart: Annotated[
        Path | None, typer.Option(help="Draw the figures into this PNG.", metavar="FILE")
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """How the cost of each operation on PostgreSQL grows with the number of ads.

    For each size it fills a database with a month of ads, photos, embeddings and the predictions of
    two releases, and times the product's own code and statements on it: commit, look-up, lists,
    statistics, feedback, the search for lost ads, releases and upkeep. Each repetition does the
    same amount of work, whatever the size; the result is the median. PostgreSQL runs with fsync on.
    """
    from lalafo_assets.bench.growth.run import run_growth

    numbers = [part.strip() for part in sizes.split(",") if part.strip()]
    if not numbers or not all(n.isdecimal() and int(n) >= MIN_ADS for n in numbers):
        raise typer.BadParameter(f"--sizes {sizes}: expected numbers from {MIN_ADS} on")
    ads = sorted({int(number) for number in numbers})
    print(run_growth(ads, chart, bench_console(json_only)))  # noqa: T201 - the result
