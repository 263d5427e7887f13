"""A worker process that scores parts of days, and the parent's handle of it.

Owns their protocol. The parent writes the assignment to the worker's standard input, as a pickle,
and then parts of days, each after the last one is done. Standard input is also the control pipe:
when it closes, because the parent stops the worker or has died, the worker ends between two
chunks. The worker answers with JSON lines on standard output: each chunk, each end of a part, or
an error.

Workers are processes, not threads: reading waits for the server a thousand times a second, and a
thread also waits for the interpreter's lock each time. Two threads on two cores scored 52,000
embeddings a second, two processes 92,000.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import date
from io import RawIOBase

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.catalogue.stale_ads import Part
from resources.postgres.database import Database
from resources.processes.environment import TUNING
from resources.rescoring.parts import Chunk, ScoringJob, score_parts

_LENGTH = struct.Struct(">I")
_STOP_TIMEOUT_S = 30.0  # a chunk takes a tenth of a second


class Worker:
    """The parent's handle of a worker process."""

    def __init__(self, database: Database, share: ScoringJob) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**TUNING, **os.environ},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._control, self._answers = self._process.stdin, self._process.stdout
        # Over the pipe: a process's arguments are visible to every user of the machine.
        self._job = pickle.dumps((database.conninfo.text("lalafo-rescore"), share))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def score(self, parts: Iterable[Part]) -> Iterator[Chunk]:
        """Yield each chunk that the worker has written; takes the next part when one is done.

        Raises:
            ConfigurationError: as raised by `score_parts` in the worker.
            RetryableError: as raised by `score_parts` in the worker, or the worker was killed.
        """
        # Larger than a pipe's buffer: this blocks until the worker has finished its imports.
        self._send(_LENGTH.pack(len(self._job)) + self._job)
        for part in parts:
            self._send(_line([part.day.isoformat(), part.part, part.parts]))
            yield from self._chunks_of_part()

    def _send(self, data: bytes) -> None:
        try:
            self._control.write(data)
            self._control.flush()
        except (BrokenPipeError, ValueError):  # the worker has ended, or `stop` closed the pipe
            raise self._ended() from None

    def _chunks_of_part(self) -> Iterator[Chunk]:
        for line in self._answers:
            message = json.loads(line)
            if "error" in message:
                kind = RetryableError if message["retryable"] else ConfigurationError
                raise kind(message["error"])
            if "done" in message:
                return
            yield Chunk(message["ads"], message["photos"], message["failed"])
        raise self._ended()

    def _ended(self) -> RetryableError:
        return RetryableError(
            f"a scoring worker ended with status {self._process.wait()}; its written predictions "
            "stay, and the next run scores the rest"
        )

    def stop(self) -> None:
        """Stop the worker after its current chunk and wait for it; repeated calls do nothing."""
        with contextlib.suppress(BrokenPipeError):
            self._control.close()
        try:
            self._process.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def main() -> None:
    """Run a worker: standard input is the control pipe, standard output the answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and stops the worker
    # Unbuffered: a buffer would consume parts that follow the assignment, and its lock could block
    # the interpreter's shutdown.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        (size,) = _LENGTH.unpack(_read_exactly(stdin, _LENGTH.size))
        url, share = pickle.loads(_read_exactly(stdin, size))  # noqa: S301 - the parent's pipe
    stop = threading.Event()
    parts: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parts, stop), daemon=True).start()
    with closing(Database(url, application="lalafo-rescore")) as database:
        try:
            for part in iter(parts.get, None):
                for chunk in score_parts(database, share, [part], stop):
                    _send_message(asdict(chunk))
                _send_message({"done": True})
        except LalafoError as error:
            _send_message({"error": str(error), "retryable": isinstance(error, RetryableError)})


def _read_exactly(stdin: RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stdin.read(size - len(data))
        if not more:
            sys.exit(0)  # the parent has died
        data += more
    return data


def _listen(parts: "queue.SimpleQueue[Part | None]", stop: threading.Event) -> None:
    """Queue parts as they arrive on standard input; set `stop` when it closes."""
    rest = b""
    while data := os.read(0, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            day, part, count = json.loads(line)
            parts.put(Part(date.fromisoformat(day), part, count))
    stop.set()
    parts.put(None)


def _send_message(message: dict[str, object]) -> None:
    try:
        sys.stdout.buffer.write(_line(message))
        sys.stdout.flush()
    except BrokenPipeError:  # the parent has died
        os._exit(1)


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


if __name__ == "__main__":
    main()
