"""Who used the processors while a bench ran: the sessions, and every server on the same cores.

Decides whose a process is. PostgreSQL's backends come and go with each query of Dagster's: those
that ended are counted through their postmaster, which waits for them. Elsewhere a process that
lived for less than the time between two looks is not seen.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping

import psutil

SESSIONS = "sessions"
POSTGRES = "postgres"

_Process = tuple[str, int, float]  # group, process id, start: ids are used again


class CpuWatch:
    """CPU seconds by group since it was made, and the sessions' memory. Call `look` now and then.

    Args:
        roots: by group, the processes whose whole families count to it.
        sessions: the session processes now; they are taken out of whatever family they are in.
    """

    def __init__(
        self, roots: Mapping[str, Iterable[int]], sessions: Callable[[], set[int]]
    ) -> None:
        self._roots = {name: tuple(pids) for name, pids in roots.items()}
        self._find_sessions = sessions
        self._seen: dict[_Process, tuple[float, float]] = {}  # seconds: first and last seen
        self._began = False
        self._postgres_before = 0.0
        self.session_rss_mb = 0.0
        self.look()
        self._postgres_before = self._postgres_s()
        self._began = True  # a process that comes later counts from its start

    def look(self) -> None:
        """Take note of everybody's use now: one that is killed can't be asked later."""
        sessions = self._find_sessions()
        for pid in sessions:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                self._note(SESSIONS, process)
                self.session_rss_mb = max(self.session_rss_mb, process.memory_info().rss / 2**20)
        for name, roots in self._roots.items():
            if name != POSTGRES:
                for process in (member for root in roots for member in family(root)):
                    if process.pid not in sessions:
                        self._note(name, process)

    def used_s(self) -> dict[str, float]:
        """CPU seconds by group."""
        self.look()
        used = dict.fromkeys((SESSIONS, *self._roots), 0.0)
        for (name, _, _), (first, last) in self._seen.items():
            used[name] += last - first
        if POSTGRES in used:
            used[POSTGRES] = self._postgres_s() - self._postgres_before
        return used

    def _note(self, name: str, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            key, times = (name, process.pid, process.create_time()), process.cpu_times()
            used = float(times.user + times.system)
            unseen = 0.0 if self._began else used
            if name == SESSIONS:  # until it has a seat, a session is a run of Dagster's
                for other in self._roots:
                    unseen = self._seen.pop((other, *key[1:]), (unseen, used))[0]
            self._seen[key] = (self._seen.get(key, (unseen, used))[0], used)

    def _postgres_s(self) -> float:
        """The server's processes that live, and those that its postmaster has waited for."""
        total = 0.0
        for root in self._roots.get(POSTGRES, ()):
            for process in family(root):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total += times.user + times.system + times.children_user
                    total += times.children_system
        return total


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none where it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
