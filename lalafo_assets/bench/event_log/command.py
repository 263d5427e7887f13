"""The options of `lalafo bench event-log`."""

from typing import Annotated

import typer
from rich.console import Console


def bench_event_log(
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Rows and bytes that one hour of a session's reports adds to Dagster's event log."""
    from lalafo_assets.bench.event_log.run import run_bench

    if not json_only:
        Console(stderr=True).print("writing the reports of one hour (about 20 s)")
    print(run_bench())  # noqa: T201 - the result
