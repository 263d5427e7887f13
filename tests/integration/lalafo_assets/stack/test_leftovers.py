"""Which processes an earlier stack has left: Dagster's that use its broker, and no others."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lalafo_assets.stack.leftovers import end_clients

WAITS = "import sys; print('started', flush=True); sys.stdin.read()"
RUN = "from multiprocessing.spawn import spawn_main"


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that waits, with these arguments and variables."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as started:
        assert started.stdout is not None and started.stdout.readline() == "started\n"
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def left(tmp_path: Path) -> dict[str, str]:
    """The exports of an earlier stack, as a shell passes them to `dagster dev`."""
    return {"LALAFO_HOME": str(tmp_path), "LALAFO_STREAM_ID": "embedded-of-an-earlier-stack"}


def test_what_used_the_broker_of_an_earlier_stack_is_named_and_ended(
    tmp_path: Path, left: dict[str, str]
) -> None:
    """The code server and a session's run; a shell or an editor with these variables stays."""
    with ExitStack() as stack:
        server, run, shell, other_home, other_kafka = (
            stack.enter_context(process(*arguments, **environment))
            for arguments, environment in (
                (("-m", "dagster", "api", "grpc"), left),
                ((RUN,), left),
                (("notes-about-dagster.md",), left),
                ((RUN,), {**left, "LALAFO_HOME": str(tmp_path / "other")}),
                ((RUN,), {**left, "LALAFO_STREAM_ID": "cluster:topic"}),
            )
        )
        lines = end_clients(tmp_path)
        assert {server.poll() is None, run.poll() is None} == {False}
        assert all(one.poll() is None for one in (shell, other_home, other_kafka))
        assert len(lines) == 2
        for ended in (server, run):
            assert any(f"ended process {ended.pid}, " in line for line in lines)
    assert end_clients(tmp_path) == []


def test_the_command_itself_is_spared(left: dict[str, str], tmp_path: Path) -> None:
    """`lalafo up` may be started from a shell that has the variables."""
    code = (
        "import os, pathlib; from lalafo_assets.stack.leftovers import end_clients; "
        "print(end_clients(pathlib.Path(os.environ['LALAFO_HOME'])))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, RUN],
        capture_output=True,
        text=True,
        env={**os.environ, **left},
        check=True,
    )
    assert found.stdout == "[]\n"
