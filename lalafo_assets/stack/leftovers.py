"""Processes that an earlier stack on a home left behind: which they are, and their end.

Two kinds provably belong to one. Those with the home's mark were started by a stack. And those of
Dagster, or gateways, whose environment names the home and an embedded broker: that broker ended
with its stack, so one of their sessions holds its membership and reads nothing. Call this only
while holding the home, before its own broker starts.
"""

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePath

import psutil

from lalafo_assets.stack.environment import EMBEDDED_STREAM
from resources.processes.child import end_leftovers, end_processes, mark_of, processes_with

STOP_S = 5.0
_PROGRAMS = {"dagster", "dagster-daemon", "dagster-webserver"}
_MODULES = {"dagster", "dagster._daemon", "dagster_webserver", "gateway"}
_RUNS = ("multiprocessing.spawn", "multiprocessing.forkserver")
"""In the command line of a run: Dagster's code server starts them by one of these."""

_SHOWN_CHARS = 80


def end_marked(home: Path) -> list[str]:
    """End the processes with the home's mark; return a line for each."""
    return [
        f"ended a process that an earlier stack left: {command[:_SHOWN_CHARS]}"
        for command in end_leftovers(home)
    ]


def end_clients(home: Path) -> list[str]:
    """End Dagster's processes and gateways of an earlier stack's broker; return a line for each.

    `dagster dev` beside `lalafo up --only services` leaves such ones. PostgreSQL must run, so that
    a session can release its partitions and its run can end as a success.
    """
    found = [(process, command) for process, command in _commands(home) if _is_client(command)]
    end_processes([process for process, _ in found], STOP_S)
    return [
        f"ended process {process.pid}, which an earlier stack left with its broker: "
        f"{' '.join(command)[:_SHOWN_CHARS]}"
        for process, command in found
    ]


def _commands(home: Path) -> list[tuple[psutil.Process, list[str]]]:
    """Processes whose environment names the home and an embedded broker, with their commands."""
    found = []
    for process, environment in processes_with("LALAFO_STREAM_ID"):
        with contextlib.suppress(psutil.Error, OSError):
            if environment["LALAFO_STREAM_ID"].startswith(EMBEDDED_STREAM) and _names(
                environment, home
            ):
                found.append((process, process.cmdline()))
    return found


def _names(environment: dict[str, str], home: Path) -> bool:
    named = environment.get("LALAFO_HOME", "")
    return PurePath(named).is_absolute() and mark_of(Path(named)) == mark_of(home)


def _is_client(command: Sequence[str]) -> bool:
    """Whether a command is one of Dagster's, or a gateway: not a shell or an editor."""
    programs = {PurePath(word).name for word in command[:2]}
    modules = {word for flag, word in pairwise(command) if flag == "-m"}
    runs = any(name in word for word in command for name in _RUNS)
    return bool(programs & _PROGRAMS or modules & _MODULES or runs)
