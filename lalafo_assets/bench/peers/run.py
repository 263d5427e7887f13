"""Runs `lalafo bench peers`: Ray Data, Daft, plain processes and the product, in alternation.

The peers have a PostgreSQL and the photo host, the product has its whole stack: each runs with what
it needs and nothing beside it but idle servers. Everything shares the same cores.
"""

import json
import os
import platform
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from lalafo_assets.bench.harness.place import fsync_ms
from lalafo_assets.bench.harness.progress import ProgressDisplay
from lalafo_assets.bench.peers.figures import Run, summary
from lalafo_assets.bench.peers.measured_peer import measure_peer, open_peer_servers
from lalafo_assets.bench.peers.measured_product import PRODUCT, measure_product
from lalafo_assets.bench.peers.options import PROCESSES, PeersBench
from ops.models.processor import supports_bf16
from resources.settings import load_settings


def run_peers_bench(bench: PeersBench, console: Console) -> str:
    """Measure all contenders in each round, and return the JSON line.

    Raises:
        ConfigurationError: Ray, Daft or Apache Kafka is needed and missing.
        LalafoError: a process did not start, or did not process every photo.
    """
    bench.check_installed()
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        home = Path(stack.enter_context(_folder()))
        servers = stack.enter_context(open_peer_servers(bench, home, display.step))
        for number in range(1, bench.rounds + 1):

            def step(what: str, done: int, total: int, of_round: int = number) -> None:
                display.step(f"round {of_round} of {bench.rounds}: {what}", done, total)

            for peer in bench.peers:
                runs.setdefault(peer.name, []).append(measure_peer(peer, servers, step))
            if PRODUCT in bench.kinds:
                with _folder() as folder:
                    measured = measure_product(
                        bench, Path(folder), on_progress=display.say, step=step
                    )
                for name, run in measured.items():
                    runs.setdefault(name, []).append(run)
        disk_ms = fsync_ms(home)
    product = runs.get(PRODUCT, [])
    return json.dumps(
        {
            "photos": bench.count,
            "rounds": bench.rounds,
            "processes": PROCESSES,
            "results": {name: summary(of_peer, product) for name, of_peer in runs.items()},
            **_circumstances(bench),
            "fsync_ms": round(disk_ms, 2),
        }
    )


def _folder() -> "TemporaryDirectory[str]":
    # PostgreSQL may still delete files of its own while the folder is listed for removal.
    return TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)


def _circumstances(bench: PeersBench) -> dict[str, object]:
    packages = ("torch", *sorted(bench.kinds & {"ray", "daft"}))
    return {
        "photo_source": "drawn" if bench.photos is None else "a folder of photos, re-encoded",
        "precision": "bf16" if supports_bf16("cpu") else "fp32",
        "product_mode": load_settings().model_mode,
        "versions": {name: version(name) for name in packages},
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
