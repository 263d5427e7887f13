"""The options of `lalafo bench export`."""

from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page

MIN_ADS = 1_000


@help_page(
    ("lalafo bench export --sizes 10000,100000", "a short one"),
    ("lalafo bench export --json", "nothing but the JSON document"),
    reads="nothing",
    writes="a PostgreSQL and exports of its own in a temporary folder, which it removes: 4 GB per "
    "million ads",
)
def bench_export(
    sizes: Annotated[
        str, typer.Option(help="Numbers of ads, ascending.", metavar="ADS,…")
    ] = "100000,1000000",
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """How fast `lalafo export` is, and how much memory it takes, as the number of ads grows.

    For each size it fills a database with a month of ads, and runs the command in a process of its
    own for each format. The baseline is the same statement alone, whose rows are read and dropped.
    """
    from lalafo_assets.bench.export.run import run_export

    numbers = [part.strip() for part in sizes.split(",") if part.strip()]
    if not numbers or not all(n.isdecimal() and int(n) >= MIN_ADS for n in numbers):
        raise typer.BadParameter(f"--sizes {sizes}: expected numbers from {MIN_ADS} on")
    ads = sorted({int(number) for number in numbers})
    print(run_export(ads, bench_console(json_only)))  # noqa: T201 - the result
