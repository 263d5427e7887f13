"""The options of `lalafo bench segments`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench segments", "on drawn photos, in half a minute"),
    ("lalafo bench segments --photos photos", "on those of a folder, beside three baselines"),
    ("lalafo bench segments --memory 100000 --json", "the memory over so many photos"),
    reads="photos with masks, or photos that it draws",
    writes="nothing",
    settings=(),
)
def bench_segments(
    photos: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder with photos/*.jpg and masks/*.png of the same names, white inside.",
        ),
    ] = None,
    drawn: Annotated[int, typer.Option(min=1, help="Drawn photos.")] = 200,
    memory: Annotated[
        int, typer.Option(min=0, help="Photos whose memory is watched; 0: none.")
    ] = 0,
    network: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="An ONNX network instead of the shipped."),
    ] = None,
    classes: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of CLASS/*.jpg; may be repeated. Embeddings of the goods alone are "
            "compared with those of whole photos.",
        ),
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Judge the masks of the task segments on photos whose masks are known.

    F-measure (beta² = 0.3), mean absolute error and intersection over union; the CPU time of a
    photo; the memory of many. The shipped network was trained on clothing-co-parsing: its figures
    on photos of that set are not those of photos that it never saw (docs/segments.md).
    """
    from lalafo_assets.bench.segments.run import network_of, run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(
            photos=photos,
            drawn=drawn,
            memory=memory,
            network=None if network is None else network_of(network),
            on_progress=on_progress,
            classes=classes or (),
        )
    print(line)  # noqa: T201 - the result
