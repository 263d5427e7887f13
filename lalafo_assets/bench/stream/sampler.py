"""Samples what may delay an ad, for `lalafo bench stream --explain`, in a process of its own.

Twenty times a second: the CPU time of each group of processes, how long the sessions' threads were
ready and had no core, how long a small write with fsync took, and how late the sampler itself woke.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lalafo_assets.bench.harness.cpu import SESSIONS, process_tree
from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_end, wait_for_go

EVERY_S = 0.05
TREE_EVERY_S = 1.0  # a listing of all processes costs some ms
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def thread_times(pid: int) -> Iterator[tuple[int, float, float]]:
    """Yield each thread's id, CPU time and time ready without a core, in ms since its start."""
    folder = Path(f"/proc/{pid}/task")
    try:
        threads = os.listdir(folder)  # noqa: PTH208 - names only, twenty times a second
    except OSError:
        return
    for thread in threads:
        try:
            used, waited, _ = (folder / thread / "schedstat").read_text().split()
        except (OSError, ValueError):
            continue
        yield int(thread), int(used) / 1e6, int(waited) / 1e6


def process_ms(pid: int) -> float | None:
    """Return a process's CPU time in ms; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK_MS


class Sampler:
    """Takes samples of differences; the first call of `sample` counts from the creation."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._sessions: list[int] = task["sessions"]
        self._roots: dict[str, list[int]] = task["roots"]
        self._trees: dict[str, list[int]] = {}
        self._listed_at = float("-inf")
        self._threads: dict[int, tuple[float, float]] = {}
        self._processes: dict[int, float] = {}
        self._probe = Path(task["folder"], "fsync-probe").open("wb", buffering=0)  # noqa: SIM115
        self.sample()

    def sample(self) -> dict[str, Any]:
        """Return what happened since the last call, in ms."""
        used = waited = 0.0
        for pid in self._sessions:
            for thread, used_ms, waited_ms in thread_times(pid):
                before = self._threads.get(thread, (used_ms, waited_ms))
                used, waited = used + used_ms - before[0], waited + waited_ms - before[1]
                self._threads[thread] = (used_ms, waited_ms)
        cpu_ms = {SESSIONS: used}
        for group, pids in self._members().items():
            cpu_ms[group] = sum(self._since(pid) for pid in pids)
        return {"cpu_ms": cpu_ms, "waited_ms": waited, "fsync_ms": self._fsync_ms()}

    def _since(self, pid: int) -> float:
        now = process_ms(pid)
        if now is None:
            return 0.0
        before, self._processes[pid] = self._processes.get(pid, now), now
        return now - before

    def _members(self) -> dict[str, list[int]]:
        now = time.monotonic()
        if now - self._listed_at > TREE_EVERY_S:
            self._listed_at = now
            known = set(self._sessions)
            self._trees = {
                name: [m.pid for root in roots for m in process_tree(root) if m.pid not in known]
                for name, roots in self._roots.items()
            }
        return self._trees

    def _fsync_ms(self) -> float:
        started = time.perf_counter()
        self._probe.seek(0)
        self._probe.write(b"x" * 4096)
        os.fsync(self._probe.fileno())
        return (time.perf_counter() - started) * 1e3


def record(task: Mapping[str, Any], ended: threading.Event) -> Sequence[Mapping[str, Any]]:
    """Sample until `ended` is set; each sample has `at`, seconds since 1970, and `late_ms`."""
    sampler, samples = Sampler(task), []
    due = time.monotonic()
    while not ended.is_set():
        due += EVERY_S
        time.sleep(max(0.0, due - time.monotonic()))
        late_ms = (time.monotonic() - due) * 1e3
        samples.append({"at": time.time(), "late_ms": max(0.0, late_ms), **sampler.sample()})
        due = max(due, time.monotonic() - EVERY_S)
    return samples


def main() -> None:
    """Sample from "go" until the bench closes standard input."""
    task, ended = read_task(), threading.Event()
    wait_for_go()
    threading.Thread(target=wait_for_end, args=(ended.set,), daemon=True).start()
    send_answer({"samples": record(task, ended)})


if __name__ == "__main__":
    main()
