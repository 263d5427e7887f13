"""The options of `lalafo bench engines`."""

from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench engines", "the release that ships with the package"),
    ("lalafo bench engines --backbone timm:tf_efficientnet_lite0 --only openvino", "another"),
    ("lalafo bench engines --json > engines.json", "nothing but the JSON document"),
    reads="photos that it draws",
    writes="a folder for temporary files, which it removes",
    settings=(),
)
def bench_engines(
    backbone: Annotated[
        str | None,
        typer.Option(
            help="A name of `lalafo backbones`; random weights, where none are here. Default: the "
            "starter's backbone."
        ),
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads.")] = "1,2",
    only: Annotated[
        str, typer.Option(help="Engines, by comma; compiled takes a minute a row.")
    ] = "eager,traced,compiled,openvino,onnxruntime",
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Time a photo by engine, precision, threads and batch, with load time, memory and cosine.

    Each row is a process of its own. ONNX Runtime is measured for comparison only: sessions don't
    use it.
    """
    from lalafo_assets.bench.engines.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        line = run_bench(
            backbone=backbone,
            threads=threads.split(","),
            engines=only.split(","),
            on_progress=on_progress,
        )
    print(line)  # noqa: T201 - the result
