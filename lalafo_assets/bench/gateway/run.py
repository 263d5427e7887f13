"""Runs the parts of `lalafo bench gateway` and prints one JSON line.

First a gateway with PostgreSQL and Kafka alone: how fast it starts, accepts and reads. Then the
whole stack with a session (post to result), where the peer gets the same ads in alternating rounds.
The load, the photo host and the servers share the same cores. If a part fails, its reason goes
under `failed` and the other parts are measured all the same.
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
from lalafo_assets.bench.gateway.fill import check_disk_space, fill
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
    """The figures so far, and the parts that failed with their reasons."""

    figures: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, part: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a part; if it fails, record the reason and go on."""
        try:
            self.figures.update(measure())
        except LalafoError as error:
            self.failed[part] = str(error)

    @property
    def line(self) -> str:
        """The JSON line."""
        return json.dumps(self.figures | ({"failed": self.failed} if self.failed else {}))


def run_gateway_bench(bench: GatewayBench, console: Console) -> BenchResult:
    """Start the servers, measure the parts, and stop the servers.

    Raises:
        ConfigurationError: wrk or Apache Kafka can't run here, or the rows don't fit on the disk.
    """
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(missing)
    result = BenchResult()
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        if bench.parts & {"accept", "read", "lookup"}:
            with _folder() as folder:
                check_disk_space(Path(folder), bench.rows_needed)
                _measure_without_session(bench, Path(folder), display, result)
        if bench.parts & {"wait", "peer"}:
            with _folder() as folder:
                result.add("wait", lambda: measure_scored(bench, Path(folder), display))
    result.figures |= {
        "seconds": bench.seconds,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    return result


def _folder() -> "TemporaryDirectory[str]":
    # PostgreSQL may still delete files of its own while the folder is listed for removal.
    return TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)


def _measure_without_session(
    bench: GatewayBench, home: Path, display: ProgressDisplay, result: BenchResult
) -> None:
    """Measure the parts that need no session: start, accept, read, lookup."""
    with open_servers(home, display.say) as servers:
        result.figures |= {"broker": servers.broker, "fsync_ms": round(fsync_ms(home), 2)}
        key = make(servers.database, "bench", scopes=("ingest", "read")).text
        result.add("start", lambda: _measure_start(servers, display))
        with run_gateway(servers.environment, home / "logs" / "gateway.log") as gateway:
            if "accept" in bench.parts:
                display.say("posting ads")
                result.add("accept", lambda: measure_accept(gateway, key, home, bench.seconds))
            if bench.rows_needed:
                rows = bench.rows_needed
                database_gb = fill(servers.database, rows=rows, on_progress=display.step)
                result.figures |= {"rows": rows, "database_gb": round(database_gb, 2)}
            if "read" in bench.parts:
                display.say("reading ads")
                result.add("read", lambda: measure_read(gateway, key, home, rows, bench.seconds))
            if "lookup" in bench.parts:
                display.say("timing the statements in PostgreSQL")
                result.add("lookup", lambda: measure_lookup(servers, rows))
            result.figures["rss_mb"] = round(gateway.rss_mb, 1)


def _measure_start(servers: Servers, display: ProgressDisplay) -> dict[str, Any]:
    """The median start time of STARTS gateway processes."""
    starts_s: list[float] = []
    for number in range(STARTS):
        with run_gateway(servers.environment, servers.home / "logs" / "starts.log") as gateway:
            starts_s.append(_start_s(gateway))
        display.step("starting the gateway", number + 1, STARTS)
    return {"start_s": round(statistics.median(starts_s), 3)}


def _start_s(gateway: RunningGateway) -> float:
    return gateway.start_s
