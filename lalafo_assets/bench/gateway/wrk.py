"""Runs `wrk` against a gateway or its peer, and reads what it saw.

Decides how a rate is held: `load.lua` gives every request its place in a timetable, taken
by whichever connection is idle, so that arrivals do not wait for answers (an open loop) while one
of the connections is idle. Latencies are wrk's own, from sending to the whole answer; wrk adds what
a connection would have sent while it waited, where that was longer than twice its usual space.
`late_p99_ms` tells how far behind the timetable requests were sent: 1 to 2 ms are wrk's clock.
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
ANSWER_WITHIN_S = 10  # wrk counts a request as timed out after so long, and waits on
_END_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a load."""

    method: str
    path: str
    body: str = ""

    def line(self) -> str:
        """As the script reads it: JSON escapes what would end a line or a field."""
        assert not {"\t", "\n"} & set(self.path + self.body)
        return f"{self.method}\t{self.path}\t{self.body}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw; latencies of all answers, whatever their status."""

    seconds: float
    sent: int
    answered: int
    found: int  # answers that held the text
    statuses: Mapping[str, int]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float
    broken: int  # connections that failed
    timed_out: int
    strange: str  # the first answer with a status of 400 or more

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def share(self, count: int) -> float:
        """`count` of all answers; 0 of none."""
        return count / self.answered if self.answered else 0.0

    def require(self, *statuses: int) -> "Load":
        """Itself; LalafoError where nothing was answered, or with anything else than these."""
        allowed = {str(status) for status in statuses}
        if self.answered == 0 or self.broken or not allowed >= set(self.statuses):
            raise LalafoError(
                f"{self.sent} requests sent, {self.answered} answered {dict(self.statuses)}, "
                f"{self.broken} connections failed; expected {sorted(allowed)} alone: "
                f"{self.strange or 'no answer says why'}"
            )
        return self


def why_unavailable() -> str | None:
    """What is missing, and how to mend it; None where wrk is there."""
    if shutil.which("wrk") is not None:
        return None
    return "no `wrk` on the PATH, which makes the load: apt-get install wrk"


def run_load(
    url: str,
    requests: Iterable[Request],
    *,
    rate: float,
    seconds: int,
    connections: int,
    folder: Path,
    wanted: str = "",
    api_key: str = "",
) -> Load:
    """Send the requests in turn, `rate` a second for `seconds`; from the first on where they end.

    Args:
        wanted: a text that answers are looked through for.

    Raises:
        ConfigurationError: wrk is not there.
        LalafoError: wrk failed.
    """
    missing = why_unavailable()
    if missing is not None:
        raise ConfigurationError(missing)
    lines = folder / "requests.tsv"
    lines.write_text("".join(request.line() for request in requests))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={ANSWER_WITHIN_S}s"]
    message = [f"{rate:g}", str(lines), *([wanted] if wanted else [])]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url, "--", *message],
        env={**os.environ, "LALAFO_GATEWAY_KEY": api_key},  # never on a command line
        capture_output=True,
        text=True,
        timeout=seconds + _END_WITHIN_S,
        check=False,
    )
    return read_answer(done.stdout, done.stderr)


def read_answer(said: str, complained: str = "") -> Load:
    """wrk's output: its last line is the script's; LalafoError where there is none."""
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise LalafoError(f"wrk gave no result: {(complained or said).strip()[-300:]}")
    return Load(**json.loads(lines[-1]))
