"""Which processes of a stack are Dagster's runs: what a fork server has forked, not itself."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from lalafo_assets.stack.shutdown import run_processes
from resources.processes.child import STACK_MARK, mark_of

FORKS = """
import os, sys
child = os.fork()
if child:
    print(child, flush=True)
sys.stdin.read()
"""
FORK_SERVER = "from multiprocessing.forkserver import main"
SPAWNED = "from multiprocessing.spawn import spawn_main"


def test_runs_are_what_the_fork_server_forked_and_what_was_spawned(tmp_path: Path) -> None:
    """The fork server reports the end of its runs to the code server, so it is no run itself."""
    environment = {**os.environ, STACK_MARK: mark_of(tmp_path)}

    def process(stack: ExitStack, code: str, command: str) -> subprocess.Popen[str]:
        started = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-c", code, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
        stack.callback(started.kill)
        return started

    with ExitStack() as stack:
        server = process(stack, FORKS, FORK_SERVER)
        assert server.stdout is not None
        forked = int(server.stdout.readline())
        stack.callback(os.kill, forked, 9)
        waits = "import sys; print(0, flush=True); sys.stdin.read()"
        spawned = process(stack, waits, SPAWNED)
        other = process(stack, waits, "something else")
        for one in (spawned, other):
            assert one.stdout is not None and one.stdout.readline() == "0\n"
        assert {it.pid for it in run_processes(tmp_path, [])} == {forked, spawned.pid}
        # A run that outlives its fork server is found too.
        server.kill()
        server.wait()
        assert {it.pid for it in run_processes(tmp_path, [])} == {forked, spawned.pid}


def test_a_fork_server_without_runs_is_no_run(tmp_path: Path) -> None:
    """Its parent is the code server, which leads."""
    waits = "import sys; print(0, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", waits, FORK_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, STACK_MARK: mark_of(tmp_path)},
    ) as server:
        assert server.stdout is not None and server.stdout.readline() == b"0\n"
        assert run_processes(tmp_path, [os.getpid()]) == []
        server.kill()
