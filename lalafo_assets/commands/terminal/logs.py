"""Where log records of a command go: to the log file of the home, or to standard error with -v.

The console has results, progress and errors only. Owns the handlers of the process that runs a
command. Sessions, the gateway and the stack's other processes configure their own logs.
"""

import logging
import os
import sys
import warnings
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

import structlog

LOG_FILE = "lalafo.log"  # in the folder `logs` of the home
MAX_BYTES = 5_000_000
OWN_PACKAGES = ("gateway", "lalafo_assets", "ops", "resources", "sensors")
NOISY = ("kafka", "psycopg.pool", "httpx", "httpcore", "urllib3", "matplotlib", "asyncio")
"""Loggers that write several records a second at INFO, or each attempt to connect."""

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"

_home: Path | None = None


def use_home(home: Path) -> Path:
    """Take the home that the command was given: its log file gets the records."""
    global _home
    _home = home
    return home


def log_file() -> Path | None:
    """Return the log file of the home; None where there is no home yet."""
    home = Path(os.environ.get("LALAFO_HOME", ".lalafo")) if _home is None else _home
    return home / "logs" / LOG_FILE if home.is_dir() else None


def configure_logs(verbosity: int = 0) -> None:
    """Route all log records and Python's warnings of this process; a repeated call replaces that.

    Args:
        verbosity: 0 writes to the log file of the home, and only errors of the project's own
            packages to standard error. 1 writes all records from INFO on to standard error as
            well, 2 those from DEBUG on.
    """
    level = logging.DEBUG if verbosity > 1 else logging.INFO
    handlers: list[logging.Handler] = [_HomeLog()]
    handlers.append(_StandardError() if verbosity > 0 else _OwnErrors())
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
    logging.basicConfig(level=level, handlers=handlers, force=True)
    logging.raiseExceptions = False  # a full disk, or a closed pipe, must not fail the command
    for name in NOISY:
        logging.getLogger(name).setLevel(level if verbosity > 1 else logging.WARNING)
    logging.captureWarnings(True)
    # Dagster 1.13 warns about its own beta parameters at every start; the tests watch for changes.
    warnings.filterwarnings("ignore", message=".*is currently in beta")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class _HomeLog(logging.Handler):
    """Appends to the log file of the home, which is known once the command's options are read.

    Where there is no home, or it can't be written, records are dropped: a look at `--help` makes no
    folder.
    """

    def __init__(self) -> None:
        super().__init__()
        self._file: RotatingFileHandler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        path = log_file()
        if path is None:
            return
        try:
            if self._file is None or Path(self._file.baseFilename) != path.absolute():
                self._open(path)
            if self._file is not None:
                self._file.emit(record)
        except OSError:
            self._file = None

    def _open(self, path: Path) -> None:
        self.close()
        path.parent.mkdir(exist_ok=True)
        self._file = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        self._file.setFormatter(self.formatter)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what is `sys.stderr` now: above bars that are being redrawn, not through them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override] # as logging's own _StderrHandler
        return sys.stderr


class _OwnErrors(_StandardError):
    """Prints errors that the project's own packages log, each in a line with the log's place."""

    def __init__(self) -> None:
        super().__init__()
        self.setLevel(logging.ERROR)
        self.addFilter(lambda record: record.name.partition(".")[0] in OWN_PACKAGES)

    def format(self, record: logging.LogRecord) -> str:
        first = record.getMessage().partition("\n")[0]
        path = log_file()
        return f"lalafo: {first}" + ("" if path is None else f" (log: {path})")
