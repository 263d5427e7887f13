"""Who used the processors while a bench ran: the sessions, and every server on the same cores.

Decides whose a process is. What ended is counted through the parent that waited for it.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping

import psutil

SESSIONS = "sessions"


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
        self._sessions: dict[tuple[int, float], tuple[float, float]] = {}  # first and last seen
        self._alive: set[int] = set()
        self.session_rss_mb = 0.0
        self._watching = False
        self.look()
        self._watching = True  # a session that comes later counts from its start
        self._before = self._families_s()

    def look(self) -> None:
        """Take note of the sessions' use now: one that is killed can't be asked later."""
        self._alive = self._find_sessions()
        for pid in self._alive:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                key, used = (pid, process.create_time()), _own_s(process)
                unseen = 0.0 if self._watching else used
                self._sessions[key] = (self._sessions.get(key, (unseen, used))[0], used)
                self.session_rss_mb = max(self.session_rss_mb, process.memory_info().rss / 2**20)

    def used_s(self) -> dict[str, float]:
        """CPU seconds by group."""
        self.look()
        now = self._families_s()
        used = {name: now[name] - self._before[name] for name in self._roots}
        used[SESSIONS] = sum(last - first for first, last in self._sessions.values())
        return used

    def _families_s(self) -> dict[str, float]:
        return {name: sum(map(self._family_s, pids)) for name, pids in self._roots.items()}

    def _family_s(self, root: int) -> float:
        """Of a process and all its living descendants but sessions, with those that ended."""
        try:
            process = psutil.Process(root)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0.0
        total = 0.0
        for member in family:
            if member.pid not in self._alive:
                with contextlib.suppress(psutil.Error):
                    times = member.cpu_times()
                    total += _own_s(member) + times.children_user + times.children_system
        return total


def _own_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def family(pid: int) -> list[psutil.Process]:
    """A process's descendants; none where it is gone."""
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found
