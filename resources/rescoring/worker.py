"""A process that scores parts of days, and the handle that its parent has of it.

Decides how the two talk. What is to be done goes in through standard input, as a pickle of our own
making, then one part of a day after the other, each when the last one is done. That pipe is the
life line: where it closes, because the parent stops it or is gone, the process ends between two
chunks. JSON lines come back: each chunk, each part's end, or what went wrong.

Processes and not threads: reading waits for the server a thousand times a second, and each time
a thread waited for the interpreter's lock as well (52,000 against 92,000 embeddings a second by
two of them on two cores).
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
from datetime import date
from io import RawIOBase

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.catalogue.stale_ads import Part
from resources.postgres.database import Database
from resources.processes.environment import TUNING
from resources.rescoring.parts import Assignment, Chunk, score_parts

_LENGTH = struct.Struct(">I")
_END_S = 30.0  # a chunk takes a tenth of a second


class Worker:
    """A process at work on a share."""

    def __init__(self, database: Database, share: Assignment) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**TUNING, **os.environ},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._life_line, self._answers = self._process.stdin, self._process.stdout
        url = database.url.render_as_string(hide_password=False)
        self._job = pickle.dumps((url, share))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def score(self, parts: Iterable[Part]) -> Iterator[Chunk]:
        """What it does to the parts, as it does it; it takes the next where it is done with one.

        Raises:
            ConfigurationError, RetryableError: as `score_parts` does; or it was killed.
        """
        # Larger than a pipe holds: this waits until the process has imported what it needs.
        self._send(_LENGTH.pack(len(self._job)) + self._job)
        for part in parts:
            self._send(_line([part.day.isoformat(), part.part, part.parts]))
            yield from self._chunks_of_part()

    def _send(self, data: bytes) -> None:
        try:
            self._life_line.write(data)
            self._life_line.flush()
        except (BrokenPipeError, ValueError):  # it ended, or it was told to
            raise self._ended() from None

    def _chunks_of_part(self) -> Iterator[Chunk]:
        for line in self._answers:
            said = json.loads(line)
            if "wrong" in said:
                kind = RetryableError if said["retryable"] else ConfigurationError
                raise kind(said["wrong"])
            if "done" in said:
                return
            yield Chunk(said["ads"], said["photos"])
        raise self._ended()

    def _ended(self) -> RetryableError:
        return RetryableError(
            f"a process that scores ended with status {self._process.wait()}; what it wrote "
            "stays, the next run scores the rest"
        )

    def stop(self) -> None:
        """Have it end after the chunk that it is at, and wait for that; again is a no-op."""
        with contextlib.suppress(BrokenPipeError):
            self._life_line.close()
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def main() -> None:
    """The process: standard input is the life line, standard output the answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who then stops us
    # Without a buffer: it would swallow parts that come with the job, and its lock outlive us.
    with open(0, "rb", buffering=0, closefd=False) as given:
        (size,) = _LENGTH.unpack(_exactly(given, _LENGTH.size))
        url, share = pickle.loads(_exactly(given, size))  # noqa: S301 - our own parent's pipe
    stop = threading.Event()
    parts: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parts, stop), daemon=True).start()
    with closing(Database(url, application="lalafo-rescore")) as database:
        try:
            for part in iter(parts.get, None):
                for chunk in score_parts(database, share, [part], stop):
                    _say({"ads": chunk.ads, "photos": chunk.photos})
                _say({"done": True})
        except LalafoError as error:
            _say({"wrong": str(error), "retryable": isinstance(error, RetryableError)})


def _exactly(given: RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = given.read(size - len(data))
        if not more:
            sys.exit(0)  # the parent is gone
        data += more
    return data


def _listen(parts: "queue.SimpleQueue[Part | None]", stop: threading.Event) -> None:
    """Take parts as they come; at the end of the line, stop."""
    rest = b""
    while data := os.read(0, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            day, part, of = json.loads(line)
            parts.put(Part(date.fromisoformat(day), part, of))
    stop.set()
    parts.put(None)


def _say(message: dict[str, object]) -> None:
    try:
        sys.stdout.buffer.write(_line(message))
        sys.stdout.flush()
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


if __name__ == "__main__":
    main()
