"""The options of `lalafo bench event-log`."""

from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo bench event-log", "about 20 s"),
    ("lalafo bench event-log --json | jq .mb_per_day", "nothing but the JSON document"),
    reads="nothing",
    writes="a PostgreSQL of its own in a temporary folder, which it removes",
)
def bench_event_log(
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Rows and bytes that one hour of a session's reports adds to Dagster's event log."""
    from lalafo_assets.bench.event_log.run import run_bench

    with Steps(bench_console(json_only)) as on_progress:
        on_progress("writing the reports of one hour")
        line = run_bench()
    print(line)  # noqa: T201 - the result
