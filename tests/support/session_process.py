"""Sessions in separate processes, which tests kill, freeze and replace.

A fork server imports torch once, so that a killed session is replaced within a second. Each session
is a real process with its own connections.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from resources.settings import Settings

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.session_process_parts"])


@dataclass
class SessionProcess:
    """One session in a separate process and process group."""

    settings: Settings
    run_id: str

    def __post_init__(self) -> None:
        self.process = _context.Process(target=work, args=(self.settings, self.run_id))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.join(10)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int | None:
        """Send SIGTERM and wait; return the exit status."""
        if self.alive:
            self.process.terminate()
            self.process.join(20)
        if self.alive:
            self.kill()
        return self.process.exitcode


class Crew:
    """Keeps a number of sessions running: replaces those that end, as the sensor does."""

    def __init__(self, settings: Settings, size: int, name: str = "run") -> None:
        self.settings = settings
        self.size = size
        self.name = name
        self.members: list[SessionProcess] = []
        self.started = 0
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._keeper = threading.Thread(target=self._keep)

    def __enter__(self) -> "Crew":
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._keeper.join()
        for member in self.members:
            member.stop()

    def kill_all(self) -> None:
        with self._lock:
            for member in self.members:
                member.kill()

    def by_run(self, run_id: str) -> SessionProcess:
        with self._lock:
            return next(member for member in self.members if member.run_id == run_id)

    def _keep(self) -> None:
        while not self._done.wait(0.02):
            with self._lock:
                self.members = [member for member in self.members if member.alive]
                while len(self.members) < self.size:
                    self.started += 1
                    run_id = f"{self.name}-{self.started}"
                    self.members.append(SessionProcess(self.settings, run_id))


def work(settings: Settings, run_id: str) -> None:
    """Run a session; the target of its process."""
    from tests.support.session_process_parts import run_session

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        run_session(settings, run_id)


def wait_for(condition: Callable[[], bool], state: Callable[[], object], timeout_s: float) -> None:
    """Wait until a condition holds; AssertionError with `state` if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, state()
        time.sleep(0.01)
