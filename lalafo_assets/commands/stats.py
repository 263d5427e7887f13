"""`lalafo stats`: the last minutes and how things stand, as the gateway tells them.

Decides what is drawn in a terminal; the page's second tab shows the same. What is counted is
`gateway/statistics/queries.py`'s.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, use_running_stack
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.schemas.statistics import Backlog, StatisticsOut

WATCH_S = 2.0
STAGES = ("fetch", "photos", "queued", "embed", "predict", "total")
SPARKS = " ▁▂▃▄▅▆▇█"
MOST_MINUTES_DRAWN = 60
MOST_LABELS = 5


def stats(
    minutes: Annotated[int, typer.Option(min=1, max=1_440, help="The window, up to now.")] = 60,
    json_only: Annotated[
        bool, typer.Option("--json", help="One JSON object, as GET /v1/statistics gives it.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds.")] = False,
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="LALAFO_GATEWAY_URL, else that of the running stack, if not given. The key is "
            "LALAFO_GATEWAY_KEY.",
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Ads and photos a minute, latencies by stage, labels, failures, what waits, releases."""
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    use_running_stack(home)
    settings = load_settings()
    url = settings.gateway_url if gateway is None else gateway
    if url == "":
        raise ConfigurationError(
            "no gateway is known: start one with `lalafo serve` (or all with `lalafo up`), or name "
            "one with --gateway URL or LALAFO_GATEWAY_URL"
        )
    with LalafoClient(url, key=settings.gateway_key or None) as client:
        if json_only:
            print(client.statistics(minutes=minutes).model_dump_json())  # noqa: T201 - the result
            return
        if not watch:
            new_console().print(drawn(client.statistics(minutes=minutes)))
            return
        with Live(console=new_console(), auto_refresh=False) as live:
            while True:
                live.update(drawn(client.statistics(minutes=minutes)), refresh=True)
                time.sleep(WATCH_S)


def drawn(statistics: "StatisticsOut") -> Group:
    """The statistics as tables."""
    return Group(
        _rates(statistics), _latencies(statistics), _counts(statistics), _standing(statistics)
    )


def _rates(statistics: "StatisticsOut") -> Table:
    table = Table(title=f"the last {statistics.minutes} minutes, to {statistics.at:%H:%M:%S} UTC")
    for name in ("", "total", "by minute"):
        table.add_column(name, justify="right" if name == "total" else "left")
    shown = statistics.series[-MOST_MINUTES_DRAWN:]
    for name in ("ads", "photos", "failures"):
        counts = [getattr(minute, name) for minute in shown]
        table.add_row(name, f"{getattr(statistics.totals, name):,}", sparks(counts))
    return table


def _latencies(statistics: "StatisticsOut") -> Table:
    table = Table(title="milliseconds; total: Kafka's timestamp to the row, waiting in it")
    table.add_column("stage")
    for name in ("p50", "p90", "p99", "ads"):
        table.add_column(name, justify="right")
    for stage in (name for name in STAGES if name in statistics.latencies):
        found = statistics.latencies[stage]
        figures = (f"{ms:,.1f}" for ms in (found.p50_ms, found.p90_ms, found.p99_ms))
        table.add_row(stage, *figures, f"{found.ads:,}")
    return table


def _counts(statistics: "StatisticsOut") -> Table:
    table = Table(show_header=False, title="what became of them")
    table.add_row("ads", _listed(statistics.statuses))
    for task, labels in statistics.labels.items():
        table.add_row(task, _listed(labels, most=MOST_LABELS))
    table.add_row("failures", _listed(statistics.failures) or "none")
    return table


def _standing(statistics: "StatisticsOut") -> Table:
    table = Table(show_header=False, title="now")
    lag = (
        "Kafka is away"
        if statistics.lag is None
        else f"{statistics.lag.events:,} events not committed"
    )
    table.add_row("lag", lag)
    table.add_row("outbox", _waits(statistics.outbox))
    table.add_row("accepted, not committed", _waits(statistics.accepted))
    states = ", ".join(f"{s.state} ({s.partitions} partitions)" for s in statistics.sessions)
    table.add_row("sessions", states or "none")
    for found in statistics.releases:
        done = f"{found.days - found.days_unscored} of {found.days} earlier days scored"
        scored = done if found.days else "no earlier ads to score"
        table.add_row(found.role, f"{found.release.id}, {scored}")
    return table


def sparks(counts: list[int]) -> str:
    """A bar a number, of eighths of the highest one; none where it is 0."""
    most = max(counts, default=0)
    if most == 0:
        return SPARKS[0] * len(counts)
    steps = len(SPARKS) - 1
    return "".join(SPARKS[-(-count * steps // most)] for count in counts)


def _listed(counts: dict[str, int], *, most: int | None = None) -> str:
    pairs = list(counts.items())
    listed = ", ".join(f"{name} {count:,}" for name, count in pairs[:most])
    left = 0 if most is None else len(pairs) - most
    return f"{listed}, {left} others" if left > 0 else listed


def _waits(backlog: "Backlog") -> str:
    if backlog.waiting == 0:
        return "nothing waits"
    oldest = "" if backlog.oldest_s is None else f", the oldest for {backlog.oldest_s:,.0f} s"
    return f"{backlog.waiting:,}{' at least' if backlog.at_least else ''}{oldest}"
