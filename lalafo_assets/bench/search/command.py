"""The options of `lalafo bench search`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page


@help_page(
    ("lalafo bench search --rows 50000", "a short one"),
    ("lalafo bench search --rows 1000000 --shared-buffers 6GB --json", "nothing but JSON"),
    reads="the photos of --photos",
    writes="a PostgreSQL of its own in a temporary folder, which it removes: 9 GB per million ads",
    settings=(),
)
def bench_search(
    rows: Annotated[int, typer.Option(min=1_000, help="Ads.")] = 100_000,
    dimension: Annotated[int, typer.Option(min=8, max=3_900, help="Numbers of a vector.")] = 1_280,
    queries: Annotated[int, typer.Option(min=10, help="Searches of each kind.")] = 200,
    workers: Annotated[int, typer.Option(min=0, help="Parallel workers of the build.")] = 0,
    m: Annotated[int, typer.Option(min=2, max=100, help="Of the graph.")] = 16,
    ef_construction: Annotated[int, typer.Option(min=4, max=1_000, help="Of the graph.")] = 64,
    ef_search: Annotated[
        str, typer.Option(metavar="N,…", help="Of the searches; 0: as the gateway chooses.")
    ] = "0",
    shared_buffers: Annotated[
        str, typer.Option(help="PostgreSQL's. Default: as the embedded server has it.")
    ] = "",
    clients: Annotated[
        int, typer.Option(min=0, max=1_000, help="Then so many search at once, while ads change.")
    ] = 0,
    replaced_per_s: Annotated[
        float, typer.Option(min=0, help="Ads that are replaced a second meanwhile.")
    ] = 50.0,
    seconds: Annotated[float, typer.Option(min=1, help="Of that.")] = 30.0,
    photos: Annotated[
        list[Path] | None,
        typer.Option(help="Folders of photos, half of them among the ads, half to search with."),
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """How well and how fast searches for similar ads find the ten nearest, for one client.

    Without a filter, under one that leaves a tenth, and under one that leaves a hundredth of the
    ads; again after 30 % of the ads were replaced. What is found is compared with the ten nearest
    of all vectors. The vectors are generated in clusters, with 64 directions in which they differ.
    With --photos, embeddings of real photos are among them, and searched with too. With --clients,
    so many then search at once while ads are replaced, over ten connections.
    """
    from lalafo_assets.bench.search.run import SearchBench, run_search

    asked = SearchBench(
        rows=rows,
        dimension=dimension,
        queries=queries,
        workers=workers,
        m=m,
        ef_construction=ef_construction,
        ef_search=tuple(int(part) for part in ef_search.split(",")),
        shared_buffers=shared_buffers,
        clients=clients,
        replaced_per_s=replaced_per_s,
        seconds=seconds,
        photos=tuple(photos or ()),
    )
    print(run_search(asked, bench_console(json_only)))  # noqa: T201 - the result
