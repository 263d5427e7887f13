"""The options of `lalafo bench price`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench price", "generated ads: six categories, two currencies"),
    ("lalafo bench price --houses houses", "homes for sale of your own, cross-validated"),
    ("lalafo bench price --houses houses --json > price.json", "nothing but the JSON document"),
    reads="generated ads; FOLDER/houses.csv and FOLDER/photos/ID_*.jpg",
    writes="nothing",
    settings=(),
)
def bench_price(
    houses: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder with houses.csv (ad_id, numbers, and price_usd or another currency) and "
            "photos/ID_*.jpg.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 10,
    draws: Annotated[int, typer.Option(min=1, help="Random divisions into folds.")] = 1,
    ads: Annotated[int, typer.Option(min=400, help="Generated ads.")] = 3_000,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Measure the task `price` on ads that it has not seen, beside simple baselines.

    The baselines are the category's median, and scikit-learn's gradient boosting on the fields
    alone and on fields and photos. For each: the median absolute percentage error, how many prices
    the 80 % range covers, and how wide it is.
    """
    from lalafo_assets.bench.price.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(
            houses=houses, folds=folds, draws=draws, count=ads, on_progress=on_progress
        )
    print(line)  # noqa: T201 - the result
