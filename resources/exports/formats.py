"""The formats of an export, and how its days are written on a command line.

Imports nothing that takes long.
"""

from datetime import date
from enum import Enum

from ops.errors import ConfigurationError


class Format(Enum):
    """The format of an export's files."""

    PARQUET = "parquet"
    CSV = "csv"


def parse_days(text: str) -> tuple[date, date]:
    """The first and the last day of `2026-11-01:2026-11-30`; one that is left out is no limit.

    `2026-11-28` is a day alone.

    Raises:
        ConfigurationError: it is neither, or the last day is before the first.
    """
    first, colon, last = text.partition(":")
    try:
        begin = date.min if colon and not first else date.fromisoformat(first)
        end = date.fromisoformat(last) if last else date.max if colon else begin
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} names no days: expected 2026-11-28, or 2026-11-01:2026-11-30, where one of "
            "the two may be left out"
        ) from error
    if end < begin:
        raise ConfigurationError(f"{text!r}: the last day is before the first")
    return begin, end
