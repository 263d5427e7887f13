"""The options of `lalafo bench gateway`."""

from typing import Annotated

import typer
from rich.console import Console

PARTS = ("accept", "read", "wait", "lookup", "peer")


def bench_gateway(
    rows: Annotated[
        int, typer.Option(min=1_000, help="Ads that lookups are measured among.")
    ] = 10_000_000,
    seconds: Annotated[int, typer.Option(min=2, help="Of each load.")] = 20,
    only: Annotated[
        str, typer.Option(help=f"Some of {','.join(PARTS)}; all if not given.", metavar="PARTS")
    ] = ",".join(PARTS),
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """What callers of the gateway wait for, loaded by `wrk` from outside, everything real.

    accept: POST of 200 ads a second. read: GET of 500 a second. wait: 20 a second, answered with
    their result, their photos fetched from a host on this machine and scored by a session of the
    whole stack. peer: the same ads given to the original's first design (Tornado, two threads,
    the model in the handler), turn by turn. lookup: PostgreSQL's own account of the statements
    behind GET, among --rows ads: some 2 KB of disk and 60 microseconds to fill each.

    Needs `wrk` (apt-get install wrk), Java 17, and Maven the first time. Ends with status 1, and
    says why under `failed`, where a part could not be measured.
    """
    from lalafo_assets.bench.gateway.options import GatewayBench
    from lalafo_assets.bench.gateway.run import run_gateway_bench

    wanted = tuple(part.strip() for part in only.split(",") if part.strip())
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown or not wanted:
        raise typer.BadParameter(f"--only {only}: expected some of {', '.join(PARTS)}")
    bench = GatewayBench(rows=rows, seconds=seconds, parts=frozenset(wanted))
    found = run_gateway_bench(bench, Console(stderr=True, quiet=json_only))
    print(found.line)  # noqa: T201 - the result
    if found.failed:
        raise typer.Exit(1)
