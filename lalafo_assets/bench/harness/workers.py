"""Runs a module as a process of a bench, which exchanges JSON lines with it.

The protocol: the first line of standard input is the task, the line "go" starts it, and the end of
standard input ends it, so that a worker whose bench was killed ends too. The worker answers on
standard output, one JSON object a line. Its log goes to a file.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ops.errors import LalafoError

GO = "go"
STOP_S = 20.0

_answers: list[TextIO] = []  # in a worker: the stream for its answers


class Worker:
    """One process of a bench; a context manager that ends it.

    Args:
        module: what `python -m` runs.
        job: the task, sent as the first line.
        log_file: gets its standard error.
        environment: variables added to this process's environment.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, object],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module
        self.log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        added = {} if environment is None else environment
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONWARNINGS": "ignore", **added},
                start_new_session=True,  # Ctrl-C reaches only the bench, which ends its workers
            )
        self._send(json.dumps(dict(job)))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def answer(self) -> dict[str, Any]:
        """Its next answer.

        Raises:
            LalafoError: it ended instead; has the last lines of its log.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line == "":
            status = self._process.wait()
            last = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])
            raise LalafoError(f"{self.module} ended with status {status}: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def go(self) -> None:
        """Start the task."""
        self._send(GO)

    def end(self) -> dict[str, Any]:
        """Close its standard input and return its last answer."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.answer()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Terminate it, or kill it if it has not ended after STOP_S. Idempotent."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.answer()  # it has ended: raises with the last lines of its log


def read_task() -> dict[str, Any]:
    """In a worker: read the task. Whatever is printed from now on goes to the log."""
    sys.stdout.flush()
    _answers.append(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    return task


def send_answer(answer: Mapping[str, object]) -> None:
    """In a worker: send one answer to the bench."""
    _answers[-1].write(json.dumps(dict(answer)) + "\n")
    _answers[-1].flush()


def wait_for_go() -> None:
    """In a worker: wait for "go"; exits with status 1 if the bench has ended."""
    if sys.stdin.readline().strip() != GO:
        raise SystemExit(1)


def wait_for_end(then: Callable[[], None]) -> None:
    """In a worker: call `then` once standard input is closed, by the bench or by its end."""
    while sys.stdin.readline() != "":
        pass
    then()
