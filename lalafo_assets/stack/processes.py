"""The stack's own processes: started, watched, replaced, and stopped in order.

Owns when a process is restarted and when the stack gives up. How they stop is in `shutdown.py`.
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lalafo_assets.stack.code_server import CodeServerWatch, code_server_command, refuses_runs
from lalafo_assets.stack.shutdown import stop_children
from ops.errors import RetryableError
from ops.types import ProgressCallback
from resources.processes.child import ChildProcess
from resources.processes.environment import TUNING
from resources.processes.priority import LOW_NICE, NORMAL_NICE, set_group_nice

ROOT = Path(__file__).resolve().parents[2]
MAX_RESTARTS, RESTARTS_WITHIN_S = 3, 120.0  # of one process
GATEWAY, CODE_SERVER = "the gateway", "Dagster's code server"
WEBSERVER, DAEMON = "Dagster's webserver", "Dagster's daemon"


class StackProcesses:
    """Dagster's processes and the gateway. Start the stack's parts with `start`, then set `is_up`.

    Args:
        exports: the environment of every process.
    """

    def __init__(
        self, home: Path, exports: Mapping[str, str], on_progress: ProgressCallback
    ) -> None:
        self.is_up = False
        self._yields = False
        self._home = home
        self._exports = dict(exports)
        self._on_progress = on_progress
        self._children: dict[str, ChildProcess] = {}
        self._ended: defaultdict[str, list[float]] = defaultdict(list)  # monotonic times
        self._watch: CodeServerWatch | None = None

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that were started and not stopped."""
        return [child.pid for child in self._children.values() if child.pid is not None]

    def start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start Python with these arguments, and more environment variables."""
        child = ChildProcess(
            name,
            [sys.executable, *arguments],
            home=self._home,
            log_file=self._home / "logs" / f"{name.rpartition(' ')[2]}.log",
            env={
                **self._exports,
                **TUNING,
                "LALAFO_STACK_PID": str(os.getpid()),
                **({} if environment is None else environment),
            },
            cwd=ROOT,
        )
        child.start()
        self._children[name] = child
        if self._yields and child.pid is not None:
            set_group_nice(child.pid, LOW_NICE)

    @contextmanager
    def yielding(self) -> Iterator[None]:
        """Within the block, what is started leaves the processor to what ran before it.

        Only where the kernel has autogroups: each process of a stack leads its terminal session.
        """
        before = set(self._children)
        self._yields = True
        try:
            yield
        finally:
            self._yields = False
            for name in self._children.keys() - before:
                pid = self._children[name].pid
                if pid is not None:
                    set_group_nice(pid, NORMAL_NICE)

    def start_code_server(self, port: int) -> None:
        """Start Dagster's code server; `check` asks it from now on whether it starts runs."""
        self.start(CODE_SERVER, code_server_command(port))
        self._watch = CodeServerWatch(lambda: refuses_runs(port))

    def check(self) -> None:
        """Restart processes that have ended, and a code server that starts no runs any more.

        Raises:
            RetryableError: a process ended while the stack was starting, or ended too often. The
                message has the end of its log.
        """
        for child in self._children.values():
            if not child.is_running():
                self._restart(child, f"ended with status {child.returncode}")
        if self._watch is None or not self.is_up:
            return
        why = self._watch.why_replace()
        if why is not None:
            server = self._children[CODE_SERVER]
            # Its runs go on: they are processes of their own, and report to PostgreSQL.
            server.kill()
            self._restart(server, why)

    def stop(self, runs_are_finished: Callable[[], bool]) -> None:
        """Stop everything in order.

        Args:
            runs_are_finished: returns whether every run of Dagster that has begun has ended.
        """
        self.is_up = False
        servers = (self._children.get(name) for name in (WEBSERVER, CODE_SERVER))
        stop_children(
            self._home,
            gateway=self._children.get(GATEWAY),
            daemon=self._children.get(DAEMON),
            servers=[server for server in servers if server is not None],
            runs_are_finished=runs_are_finished,
        )

    def _restart(self, child: ChildProcess, why: str) -> None:
        now = time.monotonic()
        recent = [at for at in self._ended[child.name] if now - at < RESTARTS_WITHIN_S]
        if not self.is_up or len(recent) >= MAX_RESTARTS:
            raise RetryableError(
                f"{child.name} {why}. The end of its log {child.log_file}: {child.log_tail(3)}"
            )
        self._ended[child.name] = [*recent, now]
        self._on_progress(f"{child.name} {why}: restarting it")
        child.start()
        if child.name == CODE_SERVER and self._watch is not None:
            self._watch.started()
