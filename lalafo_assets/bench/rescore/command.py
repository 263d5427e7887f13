"""The options of `lalafo bench rescore`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.progress import TaskID

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.bars import new_bars
from lalafo_assets.commands.terminal.help_pages import help_page


class PhotosPerAd(StrEnum):
    ONE = "1.0"
    MIXED = "2.5"


@help_page(
    ("lalafo bench rescore --rows 20000 --rounds 1", "a short one"),
    ("lalafo bench rescore --json", "nothing but the JSON document"),
    reads="nothing",
    writes="a PostgreSQL of its own in a temporary folder, which it removes",
)
def bench_rescore(
    rows: Annotated[
        int, typer.Option(min=1_000, help="Stored embeddings, spread over 30 days.")
    ] = 200_000,
    photos_per_ad: Annotated[
        PhotosPerAd, typer.Option(help="One photo per ad, or 1 to 4, 2.5 on average.")
    ] = PhotosPerAd.ONE,
    rounds: Annotated[
        int, typer.Option(min=1, help="Alternating runs of both; the result is their median.")
    ] = 3,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Embeddings a second of a head-only re-score, compared with a baseline in the same run.

    The re-score finds the ads that a second release of 29 categories has not scored, reads their
    photos' stored vectors, predicts, and writes the predictions without overwriting newer ones,
    with one process per core. The baseline does not group by ad: it COPYs the vectors out,
    multiplies, and COPYs the best labels in. PostgreSQL runs on the same cores with fsync on; its
    data take 1.7 GB in the temporary folder and about 80 s to insert per million rows.
    """
    from lalafo_assets.bench.rescore.run import RescoreProgress, run_bench

    with new_bars(bench_console(json_only), enabled=not json_only) as bars:
        filling = bars.add_task("inserting rows", total=rows)
        tasks: dict[str, TaskID] = {}

        def filled(count: int) -> None:
            bars.update(filling, completed=count)

        def scored(name: str, count: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=rows)
            bars.update(tasks[name], completed=count)

        line = run_bench(
            rows=rows,
            photos_per_ad=float(photos_per_ad),
            rounds=rounds,
            on_progress=RescoreProgress(filled, scored),
        )
    print(line)  # noqa: T201 - the result
