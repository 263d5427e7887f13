"""Pagination cursors: the position of a row in a list's order, as URL-safe text.

Owns their format; callers send a cursor back unchanged. An invalid cursor, or one of another list,
is refused. A modified cursor gives no access to rows that the caller could not read otherwise.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

from gateway.problems import Problem

MAX_CHARS = 4_096
PATTERN = r"^[A-Za-z0-9_-]+$"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def cursor_after(kind: str, moment: datetime, *texts: str) -> str:
    """Encode the position after a row.

    Args:
        kind: the kind of list; a cursor of another kind is refused.
        texts: further sort columns, which order rows with equal timestamps.
    """
    position = [kind, (moment - _EPOCH) // _MICROSECOND, *texts]
    encoded = json.dumps(position, ensure_ascii=False, separators=(",", ":")).encode()
    return urlsafe_b64encode(encoded).rstrip(b"=").decode()


def position_of(kind: str, cursor: str, *, texts: int) -> tuple[datetime, tuple[str, ...]]:
    """Decode a cursor into its timestamp and texts.

    Args:
        texts: the expected number of texts.

    Raises:
        Problem: 422, it is not a cursor of this kind.
    """
    try:
        encoded = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        cursor_kind, micros, *values = json.loads(encoded)
    except (ValueError, TypeError, RecursionError) as error:
        raise _invalid(cursor) from error
    if (
        cursor_kind != kind
        or type(micros) is not int
        or not 0 <= micros <= _LAST
        or len(values) != texts
        or not all(isinstance(text, str) and _is_storable(text) for text in values)
    ):
        raise _invalid(cursor)
    return _EPOCH + micros * _MICROSECOND, tuple(values)


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL accepts the text as a parameter."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can contain lone surrogates
        return False
    return "\x00" not in text


def _invalid(cursor: str) -> Problem:
    shown = cursor if len(cursor) <= 40 else f"{cursor[:40]}…"
    return Problem(
        422,
        "bad_cursor",
        f"{shown!r} is not a cursor of this list; send `next` of the previous page unchanged, or "
        "omit the cursor",
    )
