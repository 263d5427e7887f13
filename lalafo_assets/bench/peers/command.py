"""The options of `lalafo bench peers`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page

KINDS = ("plain", "ray", "daft", "product")


@help_page(
    ("lalafo bench peers --only plain --count 500 --rounds 1", "a short one, without the extra"),
    ("lalafo bench peers --photos photos --json", "real photos, nothing but the JSON document"),
    reads="photos that it draws, or yours; the Kafka that LALAFO_KAFKA_BOOTSTRAP names",
    writes="servers' data in a temporary folder, which it removes",
    settings=("kafka_bootstrap", "model_mode"),
)
def bench_peers(
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=100, help="Number of photos, all distinct.")] = 3_000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Alternating runs of all; the results are medians.")
    ] = 2,
    only: Annotated[
        str, typer.Option(help=f"Some of {','.join(KINDS)}; all if not given.", metavar="KINDS")
    ] = ",".join(KINDS),
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="The product on librdkafka's test broker, without Kafka."),
    ] = False,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Photos a second and CPU a photo of Ray Data, Daft and plain processes, beside the product.

    All get the same photos over HTTP: fetch, decode, embed with the starter's mobilenet_v3_small,
    predict, and upsert into PostgreSQL, in two processes with one torch thread each. The peers run
    eager and traced, and keep nothing else. The product is the whole stack with two sessions, and
    the baseline of `lalafo bench stream --saturate` runs beside it.

    Ray Data and Daft come with the extra: pip install 'lalafo-vision[bench]'.
    """
    from lalafo_assets.bench.peers.options import PeersBench
    from lalafo_assets.bench.peers.run import run_peers_bench

    kinds = tuple(kind.strip() for kind in only.split(",") if kind.strip())
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or not kinds:
        raise typer.BadParameter(f"--only {only}: expected some of {', '.join(KINDS)}")
    bench = PeersBench(
        photos=photos, count=count, rounds=rounds, kinds=frozenset(kinds), embedded=embedded
    )
    print(run_peers_bench(bench, bench_console(json_only)))  # noqa: T201 - the result
