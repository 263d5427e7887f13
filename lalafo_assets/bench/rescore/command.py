"""The options of `lalafo bench rescore`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class PhotosPerAd(StrEnum):
    ONE = "1.0"
    MIXED = "2.5"


def bench_rescore(
    rows: Annotated[
        int, typer.Option(min=1_000, help="Embeddings, spread over 30 days.")
    ] = 200_000,
    photos_per_ad: Annotated[
        PhotosPerAd, typer.Option(help="One each, or 1 to 4 and 2.5 on average.")
    ] = PhotosPerAd.ONE,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved runs; medians count.")] = 3,
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """Embeddings a second of a head-only re-score, beside a baseline script in the same run.

    Ours finds the ads that a second release of 29 categories has not scored, reads their photos'
    stored vectors, predicts, and writes the predictions so that no fresher one is overwritten, with
    a process a core. The baseline script knows no ads: COPY vectors out, multiply, COPY the
    best label in. A PostgreSQL of its
    own with fsync on runs on the same cores; what it holds takes 1.7 GB of disk a million rows in
    the temporary folder, and some 80 s to fill.
    """
    from lalafo_assets.bench.rescore.run import RescoreProgress, run_bench

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=json_only) as bars:
        filling = bars.add_task("rows to work on", total=rows)
        shown: dict[str, TaskID] = {}

        def filled(count: int) -> None:
            bars.update(filling, completed=count)

        def scored(name: str, count: int) -> None:
            if name not in shown:
                shown[name] = bars.add_task(name, total=rows)
            bars.update(shown[name], completed=count)

        line = run_bench(
            rows=rows,
            photos_per_ad=float(photos_per_ad),
            rounds=rounds,
            on_progress=RescoreProgress(filled, scored),
        )
    print(line)  # noqa: T201 - the result
