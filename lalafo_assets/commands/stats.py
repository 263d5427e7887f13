"""`lalafo stats`: shows the gateway's statistics of the last minutes in the terminal.

Owns the tables; the second tab of the web page shows the same figures.
`gateway/statistics/queries.py` computes them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lalafo_assets.commands import notices
from lalafo_assets.commands.console import DEFAULT_HOME, Gateway, Home, gateway_url, new_console
from lalafo_assets.commands.terminal.bars import is_redrawn
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import facts_lines, new_table

if TYPE_CHECKING:
    from gateway.client import LalafoClient
    from gateway.schemas.notices import NoticeOut
    from gateway.schemas.statistics import Backlog, StatisticsOut

WATCH_S = 2.0
PATIENCE_S = 5.0
"""A person waits for the figures: a gateway that has gone is named soon."""
STAGES = ("fetch", "photos", "queued", "embed", "predict", "total")
SPARKS = " ▁▂▃▄▅▆▇█"
MAX_MINUTES_DRAWN = 60
BESIDE_SPARKS = 28
"""Columns that the names and totals take beside the minutes."""
MAX_LABELS = 5


@help_page(
    ("lalafo stats", "the last hour"),
    ("lalafo stats --minutes 5 --watch", "refreshed every two seconds"),
    ("lalafo stats --json | jq .totals", "for programs"),
    reads="the gateway, GET /v1/statistics",
    writes="nothing",
    settings=("gateway_url", "gateway_key"),
    failure="no gateway is reachable, or the key may not read",
    until_interrupted=True,
)
def stats(
    minutes: Annotated[
        int, typer.Option(min=1, max=1_440, help="Length of the window that ends now, in minutes.")
    ] = 60,
    json_only: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON document, the answer of GET /v1/statistics."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh every two seconds until Ctrl-C.")
    ] = False,
    gateway: Gateway = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show ads and photos per minute, latencies by stage, labels, failures, lag and releases.

    Says first what a person should know: that no release is live, or why the last session failed.
    """
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    url, key = gateway_url(home, gateway), load_settings().gateway_key
    with LalafoClient(url, key=key or None, patience_s=PATIENCE_S) as client:
        if json_only:
            print(client.statistics(minutes=minutes).model_dump_json())  # noqa: T201 - the result
            return
        if not watch:
            console = new_console()
            console.print(_read(client, minutes, console.width))
            return
        with suppress(KeyboardInterrupt):  # it is how a person ends it
            _watch(lambda width: _read(client, minutes, width))


def _read(client: "LalafoClient", minutes: int, width: int) -> Group:
    return drawn(client.statistics(minutes=minutes), width, client.notices())


def _watch(read: Callable[[int], Group]) -> None:
    """Refresh the tables in place on a terminal; print them again and again elsewhere."""
    console = new_console()
    if not is_redrawn(console):
        while True:
            console.print(read(console.width))
            time.sleep(WATCH_S)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(read(console.width), refresh=True)
            time.sleep(WATCH_S)


def drawn(statistics: "StatisticsOut", width: int, found: "Sequence[NoticeOut]" = ()) -> Group:
    """Return the notices as lines and the statistics as tables, for a terminal of this width."""
    window = f"the last {statistics.minutes} minutes, to {statistics.at:%H:%M:%S} UTC"
    stages = "\nmilliseconds; total: from the Kafka timestamp to the committed row"
    return Group(
        *notices.lines(found),
        Text(window, style="bold"),
        _rates(statistics, width),
        Text(stages, style="bold"),
        _latencies(statistics),
        *facts_lines(width, _counts(statistics), title="\nresults"),
        *facts_lines(width, _state(statistics), title="\nnow"),
    )


def _rates(statistics: "StatisticsOut", width: int) -> Table:
    table = new_table()
    for name in ("", "total", "by minute"):
        table.add_column(name, justify="right" if name == "total" else "left")
    series = statistics.series[-min(MAX_MINUTES_DRAWN, max(1, width - BESIDE_SPARKS)) :]
    for name in ("ads", "photos", "failures"):
        counts = [getattr(minute, name) for minute in series]
        table.add_row(name, f"{getattr(statistics.totals, name):,}", sparks(counts))
    return table


def _latencies(statistics: "StatisticsOut") -> Table:
    table = new_table()
    table.add_column("stage")
    for name in ("p50", "p90", "p99", "ads"):
        table.add_column(name, justify="right")
    for stage in (name for name in STAGES if name in statistics.latencies):
        found = statistics.latencies[stage]
        figures = (f"{ms:,.1f}" for ms in (found.p50_ms, found.p90_ms, found.p99_ms))
        table.add_row(stage, *figures, f"{found.ads:,}")
    return table


def _counts(statistics: "StatisticsOut") -> Iterator[tuple[str, str]]:
    yield "ads", _listed(statistics.statuses) or "none"
    waited = statistics.waited_for_session
    if waited is not None:
        ads = f"{waited.ads:,} ads, p99 {waited.p99_ms / 1e3:,.1f} s, left out of total"
        yield "waited for a session to start", ads
    for task, labels in statistics.labels.items():
        yield task, _listed(labels, limit=MAX_LABELS)
    yield "failures", _listed(statistics.failures) or "none"


def _state(statistics: "StatisticsOut") -> Iterator[tuple[str, str]]:
    lag = statistics.lag
    known = "" if lag is None else f"{lag.events:,} events not committed"
    yield "lag", known or "Kafka is unreachable"
    yield "outbox", _backlog(statistics.outbox)
    yield "accepted, not committed", _backlog(statistics.accepted)
    if statistics.store_problem is not None:
        yield "photo store", statistics.store_problem
    states = ", ".join(f"{s.state} ({s.partitions} partitions)" for s in statistics.sessions)
    yield "sessions", states or "none"
    for found in statistics.releases:
        done = f"{found.days - found.days_unscored} of {found.days} earlier days scored"
        scored = done if found.days else "no earlier ads to score"
        yield found.role, f"{found.release.id}, {scored}"


def sparks(counts: list[int]) -> str:
    """Return a bar for each number, in eighths of the highest, rounded up; a blank for 0."""
    highest = max(counts, default=0)
    if highest == 0:
        return SPARKS[0] * len(counts)
    steps = len(SPARKS) - 1
    return "".join(SPARKS[-(-count * steps // highest)] for count in counts)


def _listed(counts: dict[str, int], *, limit: int | None = None) -> str:
    pairs = list(counts.items())
    listed = ", ".join(f"{name} {count:,}" for name, count in pairs[:limit])
    remaining = 0 if limit is None else len(pairs) - limit
    return f"{listed}, {remaining} others" if remaining > 0 else listed


def _backlog(backlog: "Backlog") -> str:
    if backlog.waiting == 0:
        return "empty"
    oldest = "" if backlog.oldest_s is None else f", the oldest for {backlog.oldest_s:,.0f} s"
    return f"{backlog.waiting:,}{' at least' if backlog.at_least else ''}{oldest}"
