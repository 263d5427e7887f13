"""A bench's own processes: a module of ours that is told a JSON line, and tells JSON lines.

Decides the little protocol: the first line in is what to do, "go" starts it, the end of its
standard input ends it. So a worker whose bench was killed ends too. What it logs goes to a file.
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

_answers: list[TextIO] = []  # in a worker: where its lines go


class Worker:
    """One process of a bench; a context manager that ends it.

    Args:
        module: what `python -m` runs.
        job: its first line.
        log_file: gets its standard error.
        environment: added to this process's.
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
                start_new_session=True,  # Ctrl-C reaches the bench alone; it ends us in order
            )
        self._say(json.dumps(dict(job)))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def answer(self) -> dict[str, Any]:
        """Its next line; LalafoError with its last words where it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line == "":
            status = self._process.wait()
            last = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])
            raise LalafoError(f"{self.module} ended with status {status}: {last}")
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self) -> None:
        """Start what it was told to do."""
        self._say(GO)

    def end(self) -> dict[str, Any]:
        """Close its standard input and read what it says last."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.answer()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, politely first; repeats do nothing."""
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

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.answer()  # it has ended, and its last words say why


def read_task() -> dict[str, Any]:
    """In a worker: the first line that it is told. What is printed from now on goes to the log."""
    sys.stdout.flush()
    _answers.append(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    found: dict[str, Any] = json.loads(sys.stdin.readline())
    return found


def tell(answer: Mapping[str, object]) -> None:
    """In a worker: one line to the bench."""
    _answers[-1].write(json.dumps(dict(answer)) + "\n")
    _answers[-1].flush()


def wait_for_go() -> None:
    """In a worker: return when the bench says so; ends this process where the bench is gone."""
    if sys.stdin.readline().strip() != GO:
        raise SystemExit(1)


def wait_for_end(then: Callable[[], None]) -> None:
    """In a worker: call `then` once the bench closes our standard input, or is gone."""
    while sys.stdin.readline() != "":
        pass
    then()
