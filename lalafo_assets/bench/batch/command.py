"""The options of `lalafo bench batch`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def bench_batch(
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=64, help="Photos, no two alike.")] = 2_000,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved runs; medians count.")] = 3,
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """Photos a second of the asset path, beside a baseline script of the same work in the same
    run."""
    from lalafo_assets.bench.batch.run import run_bench

    on_progress = (lambda _: None) if json_only else Console(stderr=True).print
    print(run_bench(photos=photos, count=count, rounds=rounds, on_progress=on_progress))  # noqa: T201 - the result
