"""How a command ends: its exit status, and the error that a person sees.

| status | when |
|---|---|
| 0 | done; also `up`, `demo`, `serve` and `stats --watch` that Ctrl-C ended |
| 1 | failed, or the result is a failure (a failed gate, a refused line); a message says why |
| 2 | wrong usage: an option or argument is missing, unknown or invalid |
| 130 | Ctrl-C or SIGTERM before the command was done |
| 141 | the reader of a pipe has closed it, as `head` does |
"""

import os
import signal
import sys
from collections.abc import Callable

from rich.console import Console

from lalafo_assets.commands.terminal.tables import print_error
from ops.errors import LalafoError

FAILED, USAGE = 1, 2
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE


def run_to_status(command: Callable[[], object]) -> int:
    """Run a command, print its error if it has one, and return the exit status.

    An exception that is not a LalafoError is a fault of the program, and is raised.
    """
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # here, where a closed pipe is still caught
    except BrokenPipeError:
        return _pipe_closed()
    except SystemExit as end:
        # rich and Typer turn a closed pipe into status 1.
        if isinstance(end.__context__, BrokenPipeError):
            return _pipe_closed()
        return _status(end)
    except LalafoError as error:
        print_error(Console(stderr=True), str(error))
        return FAILED
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends it at once
        return INTERRUPTED
    return 0


def _status(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print_error(Console(stderr=True), end.code)
    return FAILED


def _pipe_closed() -> int:
    # Python flushes standard output once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
