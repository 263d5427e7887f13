"""A process that scores one share of a re-score, and the handle that its parent has of it.

Decides how the two talk: the share goes in through standard input as a pickle of our own making,
and that pipe is the life line: where it closes, because the parent stops it or is gone, the process
ends between two chunks. A JSON line comes back for every chunk, or one that says what went wrong.

Processes and not threads: reading waits for the server a thousand times a second, and each time
a thread waited for the interpreter's lock as well (52,000 against 92,000 embeddings a second by
two of them on two cores).
"""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.database import Database
from resources.score_parts import Chunk, Share, score_parts
from resources.tuning import TUNING

_LENGTH = struct.Struct(">I")
_END_S = 30.0  # a chunk takes a tenth of a second


class Worker:
    """A process at work on a share."""

    def __init__(self, database: Database, share: Share) -> None:
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
        job = pickle.dumps((url, share))
        self._life_line.write(_LENGTH.pack(len(job)) + job)
        self._life_line.flush()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def chunks(self) -> Iterator[Chunk]:
        """What it has done, as it does it, until it has done its share or was told to stop.

        Raises:
            ConfigurationError, RetryableError: as `score_parts` does; or it was killed.
        """
        for line in self._answers:
            said = json.loads(line)
            if "wrong" in said:
                kind = RetryableError if said["retryable"] else ConfigurationError
                raise kind(said["wrong"])
            yield Chunk(said["ads"], said["photos"])
        status = self._process.wait()
        if status != 0:
            raise RetryableError(
                f"a process that scores ended with status {status}; what it wrote stays, the "
                "next run scores the rest"
            )

    def stop(self) -> None:
        """Have it end after the chunk that it is at, and wait for that; again is a no-op."""
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
    given = sys.stdin.buffer
    (size,) = _LENGTH.unpack(given.read(_LENGTH.size))
    url, share = pickle.loads(given.read(size))  # noqa: S301 - our own parent's pipe
    stop = threading.Event()
    threading.Thread(target=_watch, args=(given.fileno(), stop), daemon=True).start()
    with closing(Database(url, application="lalafo-rescore")) as database:
        try:
            for chunk in score_parts(database, share, stop):
                _say({"ads": chunk.ads, "photos": chunk.photos})
        except LalafoError as error:
            _say({"wrong": str(error), "retryable": isinstance(error, RetryableError)})


def _watch(life_line: int, stop: threading.Event) -> None:
    os.read(life_line, 1)  # nothing more is said on it; and no buffer's lock is held at our end
    stop.set()


def _say(message: dict[str, object]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


if __name__ == "__main__":
    main()
