"""The order in which a stack stops: the gateway, the runs, Dagster's daemon, its servers.

The gateway stops first, so that nothing is accepted that no session sees. Then the runs: a session
commits what it has begun. The order matters for what is on the embedded broker; nothing that was
accepted is lost in any order (`resources/upkeep/lost_ads.py`).
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from ops.errors import LalafoError
from resources.postgres.database import Database
from resources.processes.child import ChildProcess, marked_processes, wait_for_end

GATEWAY_S = 4.0
RUNS_S = 4.0
SERVERS_S = 0.5
"""They hold nothing: Dagster's webserver alone would wait for its browsers' connections."""

CHECKPOINT_S = 2.0
_SPAWNED, _FORKED = "multiprocessing.spawn", "multiprocessing.forkserver"
"""In the command line of a run: Dagster starts them by the first, `lalafo up` by the second."""

_POLL_S = 0.1


def stop_children(
    home: Path,
    *,
    gateway: ChildProcess | None,
    daemon: ChildProcess | None,
    servers: Sequence[ChildProcess],
    runs_are_finished: Callable[[], bool],
) -> None:
    """Stop the processes in order, within about 8 s even if all of them hang."""
    if gateway is not None:
        gateway.stop(GATEWAY_S)
    leaders = [*([] if daemon is None else [daemon]), *servers]
    runs = run_processes(home, [child.pid for child in leaders if child.pid is not None])
    for run in runs:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.terminate()
    if daemon is not None:
        daemon.terminate()  # so that no sensor starts a session for the one that ends
    _end_runs(runs, runs_are_finished)
    for child in leaders:
        child.terminate()
    deadline = time.monotonic() + SERVERS_S
    for child in leaders:
        child.stop(max(0.0, deadline - time.monotonic()))


def run_processes(home: Path, leaders: Sequence[int]) -> list[psutil.Process]:
    """Return the processes of Dagster's runs, also of those whose code server has ended.

    Args:
        leaders: the process ids of Dagster's own processes.
    """
    marked = {process.pid: process for process in marked_processes(home)}
    inner = marked.keys() - set(leaders)
    commands = {pid: _command(marked[pid]) for pid in inner}
    parents = {pid: _parent(marked[pid]) for pid in inner}
    forked = {pid for pid, command in commands.items() if _FORKED in command}
    # Their parent has the same command line, and must outlive them: it reports their end.
    servers = {pid for pid in forked if parents[pid] in leaders or pid in parents.values()}
    spawned = {
        pid
        for pid, command in commands.items()
        if _SPAWNED in command and parents[pid] not in inner
    }
    return [marked[pid] for pid in sorted(spawned | (forked - servers))]


def _end_runs(runs: Sequence[psutil.Process], runs_are_finished: Callable[[], bool]) -> None:
    """Wait until the runs have ended in Dagster, for RUNS_S at most; then end their processes.

    After a run has ended, its process takes seconds to free torch and what it has loaded.
    """
    deadline = time.monotonic() + RUNS_S
    while alive := wait_for_end(runs, _POLL_S):
        if time.monotonic() >= deadline or runs_are_finished():
            break
    for run in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.kill()


def start_checkpoint(url: str) -> threading.Thread:
    """Let PostgreSQL write to disk while the others stop: it has less to write when it stops."""

    def run() -> None:
        with (
            contextlib.suppress(LalafoError),
            contextlib.closing(Database(url)) as database,
            database.cursor() as cursor,
        ):
            cursor.execute("CHECKPOINT")

    thread = threading.Thread(target=run, name="checkpoint", daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM meanwhile: a second one would leave processes behind.

    Only the main thread can ignore them; in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return 0


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
