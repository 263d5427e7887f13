"""Runs `wrk` against a gateway or its peer, and reads its results.

`load.lua` keeps the rate: it gives every request a due time, and an idle connection sends it. So
arrivals do not wait for answers (an open loop) as long as one connection is idle. Latencies are
wrk's own, from sending to the whole answer. wrk adds the latencies that a connection missed while
it waited longer than twice its usual interval (coordinated omission). `late_p99_ms` is how far
behind the schedule requests were sent; 1 to 2 ms are the resolution of wrk's clock.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import ConfigurationError, LalafoError

SCRIPT = Path(__file__).with_name("load.lua")
ANSWER_WITHIN_S = 10  # wrk counts a request as timed out after this, and keeps waiting
_END_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a load."""

    method: str
    path: str
    body: str = ""

    def line(self) -> str:
        """The line that the script reads; JSON escapes tabs and newlines in the body."""
        assert not {"\t", "\n"} & set(self.path + self.body)
        return f"{self.method}\t{self.path}\t{self.body}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """wrk's results; latencies are of all answers, whatever their status."""

    seconds: float
    sent: int
    answered: int
    matched: int  # answers that contain the expected text
    statuses: Mapping[str, int]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float
    connection_errors: int  # connections that failed
    timed_out: int
    first_error: str  # the first answer with a status of 400 or more

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def share(self, count: int) -> float:
        """`count` as a share of all answers; 0 if there are none."""
        return count / self.answered if self.answered else 0.0

    def require(self, *statuses: int) -> "Load":
        """Return self if all answers have one of these statuses.

        Raises:
            LalafoError: there are no answers, a connection failed, or another status came.
        """
        allowed = {str(status) for status in statuses}
        if self.answered == 0 or self.connection_errors or not allowed >= set(self.statuses):
            raise LalafoError(
                f"{self.sent} requests sent, {self.answered} answered {dict(self.statuses)}, "
                f"{self.connection_errors} connections failed; expected only {sorted(allowed)}. "
                f"First error: {self.first_error or 'none in the answers'}"
            )
        return self


def why_unavailable() -> str | None:
    """Why wrk can't run and how to install it; None if it is on the PATH."""
    if shutil.which("wrk") is not None:
        return None
    return "`wrk` generates the load and is not on the PATH: apt-get install wrk"


def run_load(
    url: str,
    requests: Iterable[Request],
    *,
    rate: float,
    seconds: int,
    connections: int,
    folder: Path,
    expected_text: str = "",
    api_key: str = "",
) -> Load:
    """Send the requests in order, `rate` a second for `seconds`; after the last, from the first.

    Args:
        expected_text: a text to look for in answers; `Load.matched` counts them.

    Raises:
        ConfigurationError: wrk is not installed.
        LalafoError: wrk printed no result.
    """
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(missing)
    lines = folder / "requests.tsv"
    lines.write_text("".join(request.line() for request in requests))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_WITHIN_S}s"]
    arguments = [f"{rate:g}", str(lines), *([expected_text] if expected_text else [])]
    completed = subprocess.run(
        [*command, "-s", str(SCRIPT), url, "--", *arguments],
        env={**os.environ, "LALAFO_GATEWAY_KEY": api_key},  # never on a command line
        capture_output=True,
        text=True,
        timeout=seconds + _END_WITHIN_S,
        check=False,
    )
    return read_result(completed.stdout, completed.stderr)


def read_result(stdout: str, stderr: str = "") -> Load:
    """Read the JSON line that the script prints last; LalafoError if there is none."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise LalafoError(f"wrk printed no result: {(stderr or stdout).strip()[-300:]}")
    return Load(**json.loads(lines[-1]))
