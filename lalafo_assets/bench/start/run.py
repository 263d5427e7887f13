"""Runs `lalafo bench start`: how long a stack takes from its start to its first scored ad.

Each round is a process `lalafo up` on the same home. The first one creates the databases and
installs the release; it is not counted.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.client.blocking import LalafoClient
from gateway.client.errors import LalafoApiError
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.stack.ports import free_port
from lalafo_assets.stack.supervisor import running_stack
from ops.errors import LalafoError
from ops.types import ProgressCallback

WITHIN_S = 120.0
STOP_S = 30.0
_POLL_S = 0.02
_FIRST_PORT = 24_000
_KEPT = ("LALAFO_DEVICE", "LALAFO_TORCH_THREADS")


@dataclass(frozen=True, slots=True)
class Start:
    """One start, in seconds since the command was started."""

    gateway_s: float  # until the gateway answered
    first_ad_s: float  # until the ad, posted then, was committed with its predictions
    up_s: float  # until `lalafo up` said that the stack is up


def run_bench(*, rounds: int, on_progress: ProgressCallback) -> str:
    """Start the stack `rounds` times and once before, and return the JSON line.

    Raises:
        LalafoError: a stack ended, or its first ad was not scored within WITHIN_S.
    """
    photos = bench_photos(rounds + 1, folder=None)
    starts = []
    with TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True) as folder:
        for number, photo in enumerate(photos):
            on_progress(f"start {number} of {rounds}" if number else "preparing the home")
            starts.append(_measure(Path(folder), photo))
    counted = starts[1:]
    return json.dumps(
        {
            **{
                name: round(statistics.median(getattr(it, name) for it in counted), 2)
                for name in Start.__dataclass_fields__
            },
            "starts": [
                {name: round(value, 2) for name, value in asdict(it).items()} for it in counted
            ],
            "rounds": rounds,
            "cores": len(os.sched_getaffinity(0)),
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
    )


def _measure(home: Path, photo: bytes) -> Start:
    ui = free_port(_FIRST_PORT)
    gateway = free_port(ui + 1)
    began = time.monotonic()
    with _lalafo_up(home, ui=ui, gateway=gateway) as process:
        with LalafoClient(f"http://127.0.0.1:{gateway}", patience_s=0) as client:
            gateway_s = _answers(client, process) - began
            accepted = client.post_ad({"catalog": "bench", "ad_id": str(ui)}, photos=[photo])
            scored = client.wait_for("bench", str(ui), accepted.revision, within_s=WITHIN_S)
            first_ad_s = time.monotonic() - began
        if scored.status != "scored":
            raise LalafoError(f"the first ad is {scored.status}, not scored")
        while running_stack(home) is None:
            _require_running(process)
            time.sleep(_POLL_S)
        return Start(gateway_s, first_ad_s, time.monotonic() - began)


@contextmanager
def _lalafo_up(home: Path, *, ui: int, gateway: int) -> Iterator[subprocess.Popen[bytes]]:
    """A stack with its own servers; stopped on exit, as by Ctrl-C."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.startswith("LALAFO_")
    }
    ports = ["--port", str(ui), "--gateway-port", str(gateway)]
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lalafo_assets.cli", "up", "--home", str(home), *ports],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches only the bench, which stops it
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(client: LalafoClient, process: subprocess.Popen[bytes]) -> float:
    """The moment at which the gateway answers, in monotonic seconds."""
    while True:
        try:
            client.live_release()
        except LalafoApiError:
            _require_running(process)
            time.sleep(_POLL_S)
        else:
            return time.monotonic()


def _require_running(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise LalafoError(f"`lalafo up` ended with status {process.returncode}")
