"""The options of `lalafo bench start`."""

from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench start --rounds 1", "about a minute"),
    ("lalafo bench start --json | jq .first_ad_s", "nothing but the JSON document"),
    reads="nothing: each stack starts its own servers",
    writes="a LALAFO_HOME in a temporary folder, which it removes",
    settings=("device", "torch_threads"),
)
def bench_start(
    rounds: Annotated[
        int, typer.Option(min=1, help="Starts that are measured, after one that is not.")
    ] = 3,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Seconds from `lalafo up` to the first scored ad, on a home that was used before.

    An ad with a photo is posted as soon as the gateway answers. The stack runs its own PostgreSQL
    and the embedded broker, Dagster and the gateway.
    """
    from lalafo_assets.bench.start.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(rounds=rounds, on_progress=on_progress)
    print(line)  # noqa: T201 - the result
