"""Cursors of lists: the place of a row in its order, as text that fits into an address.

Decides their form, which callers hand back as it came. One that was made up, or is of another list,
is refused; one that was changed by hand shows nothing that the caller could not ask for otherwise.
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
    """The place after a row.

    Args:
        kind: of the list; a cursor of another kind is refused.
        texts: what tells rows of one moment apart.
    """
    place = [kind, (moment - _EPOCH) // _MICROSECOND, *texts]
    packed = json.dumps(place, ensure_ascii=False, separators=(",", ":")).encode()
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def place_of(kind: str, cursor: str, *, texts: int) -> tuple[datetime, tuple[str, ...]]:
    """The moment and the texts in a cursor; a Problem (422) where it is none of this kind."""
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found, micros, *message = json.loads(packed)
    except (ValueError, TypeError, RecursionError) as error:
        raise _wrong(cursor) from error
    if (
        found != kind
        or type(micros) is not int
        or not 0 <= micros <= _LAST
        or len(message) != texts
        or not all(isinstance(text, str) and _storable(text) for text in message)
    ):
        raise _wrong(cursor)
    return _EPOCH + micros * _MICROSECOND, tuple(message)


def _storable(text: str) -> bool:
    """Whether PostgreSQL can compare with it."""
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell lone surrogates
        return False
    return "\x00" not in text


def _wrong(cursor: str) -> Problem:
    shown = cursor if len(cursor) <= 40 else f"{cursor[:40]}…"
    return Problem(
        422,
        "bad_cursor",
        f"{shown!r} is no cursor of this list; give `next` of a page as it came, or nothing",
    )
