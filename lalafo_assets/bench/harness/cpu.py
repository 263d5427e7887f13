"""Measures the CPU time of the sessions and of every server on the same cores during a bench.

Assigns each process to a group. PostgreSQL starts and ends backends with each of Dagster's queries;
the ended ones are counted through the postmaster, which has waited for them. In the other groups,
a process that starts and ends between two samples is not counted.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping

import psutil

SESSIONS = "sessions"
POSTGRES = "postgres"

_Process = tuple[str, int, float]  # group, process id, start time: the system reuses ids


class CpuWatch:
    """CPU seconds per group since its creation, and the sessions' memory. Call `sample` regularly.

    Args:
        roots: by group, the processes that belong to it with all their descendants.
        sessions: returns the current session processes, which belong to no other group.
    """

    def __init__(
        self, roots: Mapping[str, Iterable[int]], sessions: Callable[[], set[int]]
    ) -> None:
        self._roots = {name: tuple(pids) for name, pids in roots.items()}
        self._find_sessions = sessions
        self._seen: dict[_Process, tuple[float, float]] = {}  # CPU seconds at first, last sample
        self._started = False
        self._postgres_before = 0.0
        self.session_rss_mb = 0.0
        self.sample()
        self._postgres_before = self._postgres_s()
        self._started = True  # a process that starts later counts from its start

    def sample(self) -> None:
        """Record the use of every process now: a killed process can't be read afterwards."""
        sessions = self._find_sessions()
        for pid in sessions:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                self._record(SESSIONS, process)
                self.session_rss_mb = max(self.session_rss_mb, process.memory_info().rss / 2**20)
        for name, roots in self._roots.items():
            if name != POSTGRES:
                for process in (member for root in roots for member in process_tree(root)):
                    if process.pid not in sessions:
                        self._record(name, process)

    def used_s(self) -> dict[str, float]:
        """CPU seconds by group."""
        self.sample()
        used = dict.fromkeys((SESSIONS, *self._roots), 0.0)
        for (name, _, _), (first, last) in self._seen.items():
            used[name] += last - first
        if POSTGRES in used:
            used[POSTGRES] = self._postgres_s() - self._postgres_before
        return used

    def _record(self, name: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            key, times = (name, process.pid, process.create_time()), process.cpu_times()
            used = float(times.user + times.system)
            unseen = 0.0 if self._started else used
            if name == SESSIONS:  # until it has registered, a session counts to Dagster
                for other in self._roots:
                    unseen = self._seen.pop((other, *key[1:]), (unseen, used))[0]
            self._seen[key] = (self._seen.get(key, (unseen, used))[0], used)

    def _postgres_s(self) -> float:
        """CPU seconds of the running server processes and of those that the postmaster reaped."""
        total = 0.0
        for root in self._roots.get(POSTGRES, ()):
            for process in process_tree(root):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total += times.user + times.system + times.children_user
                    total += times.children_system
        return total


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty if it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
