"""Processes of ours and their life: each dies with its parent, stops in order, and leaves nothing.

Decides how a child is started, stopped and found again after a kill -9. Refuses to know what the
children do. Two nets hold it together: the kernel's parent-death signal for a direct child, and
the mark `LALAFO_STACK=<home>` in every descendant's environment for whatever that misses.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from ops.errors import ConfigurationError

STACK_MARK = "LALAFO_STACK"
"""The environment variable that marks a process as part of the stack of one home."""

GRACEFUL_STOP_S = 10.0
_AFTER_LEADER_S = 2.0
_LOOK_S = 0.01
_LAUNCHER = Path(__file__).with_name("run_with_parent.py")


class ChildProcess:
    """One child in a session of its own, with its output in a log file.

    It gets SIGTERM when the thread that started it ends, so start it from one that lives as long
    as the child shall: in practice the main thread.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        home: Path,
        log_file: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Args:
        name: what messages call it.
        home: LALAFO_HOME; marks the child and all that it starts.
        log_file: gets the output, after what is there; its folder is made.
        env: added to this process's environment.
        """
        self.name = name
        self.log_file = log_file
        self._argv = list(argv)
        self._env = {**os.environ, **(env if env is not None else {}), STACK_MARK: mark_of(home)}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None before the start and after the stop."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status of the process last started; None while it runs."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; nothing happens where it runs already."""
        if self.is_running():
            return
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                # -I -S: the launcher needs neither site-packages nor the current folder (15 ms)
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), "--", *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop children in order
            )

    def stop(self, timeout_s: float = GRACEFUL_STOP_S) -> None:
        """SIGTERM to the process, then to what it left behind, then SIGKILL; repeats do nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        family = _family_of(process, self._env[STACK_MARK])
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)
        _end([p for p in family if _lives(p)], _AFTER_LEADER_S)
        process.wait()

    def kill(self) -> None:
        """SIGKILL to the process alone: what a crash looks like, for fault tests."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log, for messages; "" where there is none."""
        if not self.log_file.exists():
            return ""
        text = self.log_file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def mark_of(home: Path) -> str:
    """The value of the mark for a home, the same for every spelling of its path."""
    return str(home.resolve())


def end_leftovers(home: Path, timeout_s: float = 5.0) -> list[str]:
    """End what an earlier stack on this home left running, and return their command lines.

    Only processes that carry this home's mark, never this one or its ancestors. PostgreSQL is
    started without the mark: it is adopted or stopped cleanly, never killed. Call it under
    `hold_home`, or it ends the children of a stack that is alive.
    """
    spared = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    mark = mark_of(home)
    found: list[psutil.Process] = []
    names: list[str] = []
    for process in psutil.process_iter():
        # Gone meanwhile, a zombie, or another user's: not ours to end.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in spared and process.environ().get(STACK_MARK) == mark:
                names.append(" ".join(process.cmdline()))
                found.append(process)
    _end(found, timeout_s)
    return names


@contextlib.contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Hold the home for one stack; the kernel lets go of it when this process ends, however.

    Raises:
        ConfigurationError: another process holds it, or the folder can't be written.
    """
    path = home / "stack.lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise ConfigurationError(
            f"LALAFO_HOME={home} can't be written ({error.strerror}). Set another one."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ConfigurationError(
                f"Process {lock.read().strip()} already runs a stack on LALAFO_HOME={home}. "
                "Stop it first, or set another LALAFO_HOME."
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _family_of(leader: subprocess.Popen[bytes], mark: str) -> list[psutil.Process]:
    """The process while it runs, its descendants, and what else of its group carries the mark."""
    family = []
    if leader.poll() is None:
        process = psutil.Process(leader.pid)
        family = [process, *process.children(recursive=True)]
    known = {p.pid for p in family}
    for process in psutil.process_iter():
        # The mark is asked for too: an ended leader's id may name a stranger's group by now.
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid not in known
                and os.getpgid(process.pid) == leader.pid
                and process.environ().get(STACK_MARK) == mark
            ):
                family.append(process)
    return family


def _end(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """SIGTERM to all at once, SIGKILL to those that remain; psutil guards against reused ids."""
    remaining = list(processes)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(process)
        deadline = time.monotonic() + timeout_s
        while remaining != [] and time.monotonic() < deadline:
            remaining = [process for process in remaining if _lives(process)]
            time.sleep(_LOOK_S if remaining != [] else 0)


def _lives(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not, however late its parent asks for its status."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
