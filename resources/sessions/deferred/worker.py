"""A session's handle of its worker process for tasks after the ad's path.

Owns when the process runs: while the session reads a partition, and an active release has such a
task, or ads wait. A standby has none. A process that ends, or that reports nothing for longer than
a stage may take, is started again. Not a part of any ad's way: its errors are logged.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

import structlog

from ops.errors import LalafoError
from ops.outcomes import Batch, CommitResult
from resources.postgres.database import Database
from resources.processes.environment import TUNING
from resources.processes.repeating import RepeatingThread
from resources.sessions.deferred.process import BEAT, LENGTH, Order, Report
from resources.sessions.deferred.queue import Depth, depth

LOOK_EVERY_S = 0.5
_DEPTH_EVERY_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STOP_S = 3.0  # a task that does not come back by then is killed, and its ads are taken again

log = structlog.get_logger()


class DeferredTasks(RepeatingThread):
    """Runs the worker process of one session; a context manager that ends it.

    Args:
        reads: whether the session reads a partition now.
        has_tasks: whether an active release has tasks after the ad's path.
        reported: called with each report, in a thread of its own.
    """

    def __init__(
        self,
        database: Database,
        order: Order,
        *,
        reads: Callable[[], bool],
        has_tasks: Callable[[], bool],
        reported: Callable[[Report], object],
    ) -> None:
        self._database = database
        self._order = order
        self._reads = reads
        self._has_tasks = has_tasks
        self._reported = reported
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._heard_at = self._looked_at = 0.0
        self._pause_s, self._not_before = _FIRST_PAUSE_S, 0.0
        self._waiting = False
        super().__init__("session-deferred", every_s=LOOK_EVERY_S)

    @property
    def pid(self) -> int | None:
        """The process's id; None while none runs."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def committed(self, batch: Batch, result: CommitResult) -> None:
        """Wake the worker after a commit that has put ads in the queue; returns at once."""
        if batch.has_deferred and result.accepted:
            self.wake()

    def wake(self) -> None:
        """Let the worker look at the queue now."""
        with self._lock:
            process = self._process
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError, ValueError):
                    os.write(process.stdin.fileno(), b"\n")

    def step(self) -> bool:
        """Start or stop the process, as the session needs it; it is never the last step."""
        try:
            wanted = self._reads() and (self._has_tasks() or self._ads_wait())
            process = self._process
            if process is not None and process.poll() is not None:
                log.warning("deferred.worker_ended", status=process.returncode)
                self._forget()
            elif process is not None and self._is_silent():
                log.error("deferred.worker_hangs", pid=process.pid)
                process.kill()
            elif process is not None and not wanted:
                self._stop()
            elif process is None and wanted and time.monotonic() >= self._not_before:
                self._start()
        except Exception as error:  # noqa: BLE001 - the thread must go on
            log.warning("deferred.worker_failed", error=str(error))
        return False

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._stop()

    def _ads_wait(self) -> bool:
        """Whether ads are in the queue, of a release that was active before."""
        now = time.monotonic()
        if now - self._looked_at >= _DEPTH_EVERY_S:
            self._looked_at = now
            try:
                found = depth(self._database)
            except LalafoError:
                return self._waiting
            self._waiting = found.ads > 0
        return self._waiting

    def _is_silent(self) -> bool:
        """Whether the process reports nothing any more. It also reports when it finds no ads."""
        limit_s = self._order.settings.stage_timeout_s
        return time.monotonic() - self._heard_at > limit_s

    def _start(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "resources.sessions.deferred.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**TUNING, **os.environ},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._heard_at = time.monotonic()
        order = pickle.dumps(self._order)
        with self._lock:  # the byte of `wake` must not come before the order
            self._process = process
            process.stdin.write(LENGTH.pack(len(order)) + order)
            process.stdin.flush()
            os.set_blocking(process.stdin.fileno(), False)  # a frozen process must block no commit
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    def _listen(self, reports: IO[bytes]) -> None:
        """Pass on the reports of one process, until it ends."""
        for line in reports:
            self._heard_at = time.monotonic()
            if line == BEAT:
                continue
            self._pause_s = _FIRST_PAUSE_S
            try:
                fields = json.loads(line)
                waiting = Depth(**fields.pop("waiting"))
                seconds = {task: (s, n) for task, (s, n) in fields.pop("seconds").items()}
                self._reported(Report(**fields, seconds=seconds, waiting=waiting))
            except Exception as error:  # noqa: BLE001 - the metrics lack this one
                log.warning("deferred.report_failed", error=str(error))
        reports.close()

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with self._lock, contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget()
        self._not_before = 0.0

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with self._lock, contextlib.suppress(OSError):
                process.stdin.close()
        self._not_before = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
