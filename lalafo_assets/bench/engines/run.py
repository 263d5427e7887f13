"""Runs `lalafo bench engines`: every engine in every precision and number of threads.

Each row is measured in a process of its own, which loads the engine as a session does, so that load
time and memory are its own. The photos, the converted backbones and the rows of float32 torch are
prepared once, by another process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops.errors import ConfigurationError
from resources.processes.environment import TUNING

WORKER = "lalafo_assets.bench.engines.worker"
ENGINES = ("eager", "traced", "compiled", "openvino", "onnxruntime")
ONLY_FP32 = ("onnxruntime",)  # its CPU kernels have no bf16


def run_bench(
    *,
    backbone: str | None,
    threads: Sequence[str],
    engines: Sequence[str],
    on_progress: Callable[[str], object],
) -> str:
    """Measure the rows, and return the JSON line.

    Args:
        backbone: a name; None: the starter's, with its weights.

    Raises:
        ConfigurationError: an engine, a number of threads or the backbone is unknown.
    """
    unknown = [name for name in engines if name not in ENGINES]
    if unknown or not all(count.isdecimal() and int(count) > 0 for count in threads):
        raise ConfigurationError(
            f"--only {','.join(engines)} --threads {','.join(threads)}: expected of "
            f"{','.join(ENGINES)}, and numbers above 0"
        )
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        on_progress("drawing photos and converting the backbone")
        prepared = _worker("prepare", folder, backbone or "")
        rows, left_out = [], dict(prepared["left_out"])
        for name, precision, count in _configurations(engines, prepared["precisions"], threads):
            if name in left_out:
                continue
            on_progress(f"{name} {precision}, threads: {count}")
            rows.append(_worker("measure", folder, name, precision, count))
        return json.dumps(
            {
                "backbone": prepared["backbone"],
                "rows": rows,
                "left_out": left_out,
                "cores": os.cpu_count(),
                "load_average": [round(value, 2) for value in os.getloadavg()],
                "processor": prepared["processor"],
                "versions": prepared["versions"],
                "date": datetime.now(UTC).date().isoformat(),
            }
        )


def _configurations(
    engines: Sequence[str], precisions: Sequence[str], threads: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    for count in threads:
        for precision in precisions:
            for name in engines:
                if precision == "fp32" or name not in ONLY_FP32:
                    yield name, precision, count


def _worker(*arguments: str | Path) -> dict[str, Any]:
    """Run the worker; returns its JSON line."""
    done = subprocess.run(
        [sys.executable, "-m", WORKER, *map(str, arguments)],
        env={**os.environ, **TUNING, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigurationError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
