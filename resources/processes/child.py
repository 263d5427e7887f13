"""Starts and stops child processes, so that none outlives its parent.

Owns how a child is started, stopped, and found again after a kill -9. Does not depend on what the
children do. Two mechanisms work together: the kernel's parent-death signal for a direct child, and
the mark `LALAFO_STACK=<home>` in every descendant's environment for what the signal misses.
"""

import contextlib
import fcntl
import os
import re
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
_DESCENDANTS_STOP_S = 2.0
_POLL_S = 0.01
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LAUNCHER = Path(__file__).with_name("run_with_parent.py")


def stack_runs(stack_pid: int) -> bool:
    """Whether the stack that a process is part of runs; True for a process of no stack.

    A Dagster run is no child of the stack: it must end by itself when the stack was killed.

    Args:
        stack_pid: the setting; 0: of no stack.
    """
    return stack_pid == 0 or psutil.pid_exists(stack_pid)


class ChildProcess:
    """A child process in its own process session (setsid), with its output in a log file.

    It gets SIGTERM when the thread that started it ends. So start it from a thread that lives as
    long as the child should: in practice the main thread.
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
        name: its name in messages.
        home: LALAFO_HOME; marks the child and all its descendants.
        log_file: the output is appended to it; its folder is created.
        env: added to this process's environment.
        """
        self.name = name
        self.log_file = log_file
        self._argv = list(argv)
        self._env = {**os.environ, **(env if env is not None else {}), STACK_MARK: mark_of(home)}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._is_terminated = False

    @property
    def pid(self) -> int | None:
        """The process id, or None before the start and after the stop."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status of the process started last; None while it runs."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; does nothing if it is running."""
        if self.is_running():
            return
        self._is_terminated = False
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
                start_new_session=True,  # Ctrl-C reaches only the parent, which stops them in order
            )

    def terminate(self) -> None:
        """Send SIGTERM to the process, once, without waiting; does nothing if none runs."""
        process = self._process
        if process is not None and not self._is_terminated and process.poll() is None:
            self._is_terminated = True
            process.terminate()

    def stop(self, timeout_s: float = GRACEFUL_STOP_S) -> None:
        """Send SIGTERM to the process, then SIGKILL; then both to its remaining descendants.

        A repeated call does nothing.
        """
        process = self._process
        if process is None:
            return
        family = _family_of(process, self._env[STACK_MARK])
        self.terminate()
        self._process = None
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
        end_processes([p for p in family if _is_alive(p)], _DESCENDANTS_STOP_S)
        process.wait()

    def kill(self) -> None:
        """Send SIGKILL to the process alone, as a crash would; its children go on."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log without colours, for messages; "" if there is no log."""
        if not self.log_file.exists():
            return ""
        text = _COLOURS.sub("", self.log_file.read_text(encoding="utf-8", errors="replace"))
        return "\n".join(text.splitlines()[-lines:])


def mark_of(home: Path) -> str:
    """The mark's value for a home; the same for every spelling of its path."""
    return str(home.resolve())


def end_leftovers(home: Path, timeout_s: float = 5.0) -> list[str]:
    """End the processes that an earlier stack on this home left running.

    Ends only processes that carry this home's mark, never this process or its ancestors.
    PostgreSQL is started without the mark: it is adopted or stopped cleanly, never killed. Call it
    only while holding `hold_home`, or it ends the children of a running stack.

    Returns: the command lines of the ended processes.
    """
    found = marked_processes(home)
    names: list[str] = []
    for process in found:
        with contextlib.suppress(psutil.Error, OSError):
            names.append(" ".join(process.cmdline()))
    end_processes(found, timeout_s)
    return names


def marked_processes(home: Path) -> list[psutil.Process]:
    """Return the processes that carry this home's mark, but not this process or its ancestors."""
    mark = mark_of(home)
    return [process for process, its in processes_with(STACK_MARK) if its[STACK_MARK] == mark]


def processes_with(variable: str) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Yield the processes that have an environment variable, with their whole environment.

    Not this process or its ancestors. A process's environment is that of its start.
    """
    spared = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    for process in psutil.process_iter():
        environment: dict[str, str] = {}
        # It has ended meanwhile, is a zombie, or belongs to another user: skip it.
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
        if process.pid not in spared and variable in environment:
            yield process, environment


def make_home(home: Path) -> None:
    """Create the folder of all local state, and make sure that it can be written.

    Raises:
        ConfigurationError: it is not a folder, or can't be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "stack.lock").open("a"):
            pass
    except OSError as error:
        # Of a file: "File exists" would be no help.
        no_folder = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "it is not a folder" if no_folder else str(error.strerror)
        raise ConfigurationError(
            f"LALAFO_HOME={home} can't be written ({reason}). Set LALAFO_HOME, or --home, to a "
            "folder that can be."
        ) from error


@contextlib.contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Lock the home for one stack; the kernel releases the lock when this process ends.

    Raises:
        ConfigurationError: another process has the lock, or the folder can't be written.
    """
    make_home(home)
    with (home / "stack.lock").open("a+", encoding="ascii") as lock:
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
    """The process and its descendants while it runs, and marked processes of its group."""
    family = []
    if leader.poll() is None:
        process = psutil.Process(leader.pid)
        family = [process, *process.children(recursive=True)]
    known = {p.pid for p in family}
    for process in psutil.process_iter():
        # Check the mark too: an ended leader's id may have been reused for another group.
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid not in known
                and os.getpgid(process.pid) == leader.pid
                and process.environ().get(STACK_MARK) == mark
            ):
                family.append(process)
    return family


def end_processes(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """Send SIGTERM to all, then SIGKILL to those that remain; psutil detects reused ids."""
    remaining = list(processes)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(process)
        remaining = wait_for_end(remaining, timeout_s)


def wait_for_end(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that still run after `timeout_s`."""
    remaining, deadline = list(processes), time.monotonic() + timeout_s
    while remaining := [process for process in remaining if _is_alive(process)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    return remaining


def _is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; a zombie counts as ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
