"""`lalafo bench gateway`: what callers wait for, and what stands behind it.

Decides the order: a gateway with PostgreSQL and Kafka alone (how fast it starts, accepts, reads),
then the whole stack with a session (post to result), where the peer gets the same ads turn by turn.
Everything is on the same cores: the load, the photo host, the servers. A part that fails is told
under `failed`, and the others are measured all the same.
"""

import json
import os
import platform
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from gateway.edge.keys import make
from lalafo_assets.bench.gateway.fill import check_room, fill
from lalafo_assets.bench.gateway.loads import measure_accept, measure_read
from lalafo_assets.bench.gateway.lookup import measure_lookup
from lalafo_assets.bench.gateway.options import GatewayBench
from lalafo_assets.bench.gateway.place import RunningGateway, Servers, open_servers, run_gateway
from lalafo_assets.bench.gateway.wait import measure_scored
from lalafo_assets.bench.gateway.wrk import why_unavailable
from lalafo_assets.bench.harness.place import fsync_ms
from lalafo_assets.bench.harness.progress import ProgressDisplay
from ops.errors import ConfigurationError, LalafoError

STARTS = 5


@dataclass(slots=True)
class BenchResult:
    """The figures so far, and the parts that could not be measured, with their reasons."""

    figures: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, part: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a part; its failure is told, and ends nothing else."""
        try:
            self.figures.update(measure())
        except LalafoError as error:
            self.failed[part] = str(error)

    @property
    def line(self) -> str:
        """The JSON line."""
        return json.dumps(self.figures | ({"failed": self.failed} if self.failed else {}))


def run_gateway_bench(bench: GatewayBench, console: Console) -> BenchResult:
    """Prepare, measure, tear down.

    Raises:
        ConfigurationError: wrk or Apache Kafka can't be had, or there is no room for the rows.
    """
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(missing)
    found = BenchResult()
    with ExitStack() as stack:
        shown = stack.enter_context(ProgressDisplay(console))
        if bench.parts & {"accept", "read", "lookup"}:
            with _folder() as folder:
                check_room(Path(folder), bench.rows_needed)
                _measure_alone(bench, Path(folder), shown, found)
        if bench.parts & {"wait", "peer"}:
            with _folder() as folder:
                found.add("wait", lambda: measure_scored(bench, Path(folder), shown))
    found.figures |= {
        "seconds": bench.seconds,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return found


def _folder() -> "TemporaryDirectory[str]":
    # PostgreSQL's last files may still go while they are listed.
    return TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)


def _measure_alone(
    bench: GatewayBench, home: Path, shown: ProgressDisplay, found: BenchResult
) -> None:
    """What needs no session."""
    with open_servers(home, shown.say) as servers:
        found.figures |= {"broker": servers.broker, "fsync_ms": round(fsync_ms(home), 2)}
        key = make(servers.database, "bench", scopes=("ingest", "read")).text
        found.add("start", lambda: _measure_start(servers, shown))
        with run_gateway(servers.environment, home / "logs" / "gateway.log") as gateway:
            if "accept" in bench.parts:
                shown.say("posting ads")
                found.add("accept", lambda: measure_accept(gateway, key, home, bench.seconds))
            if bench.rows_needed:
                rows = bench.rows_needed
                database_gb = fill(servers.database, rows=rows, on_progress=shown.step)
                found.figures |= {"rows": rows, "database_gb": round(database_gb, 2)}
            if "read" in bench.parts:
                shown.say("reading ads")
                found.add("read", lambda: measure_read(gateway, key, home, rows, bench.seconds))
            if "lookup" in bench.parts:
                shown.say("asking PostgreSQL for its plans")
                found.add("lookup", lambda: measure_lookup(servers, rows))
            found.figures["rss_mb"] = round(gateway.rss_mb, 1)


def _measure_start(servers: Servers, shown: ProgressDisplay) -> dict[str, Any]:
    """The median of some starts, each of a process of its own."""
    took: list[float] = []
    for number in range(STARTS):
        with run_gateway(servers.environment, servers.home / "logs" / "starts.log") as gateway:
            took.append(_started(gateway))
        shown.step("starting the gateway", number + 1, STARTS)
    return {"start_s": round(statistics.median(took), 3)}


def _started(gateway: RunningGateway) -> float:
    return gateway.start_s
