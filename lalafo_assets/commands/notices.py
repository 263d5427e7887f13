"""What a person should know about the stack, for the terminal; the web page shows the same.

`gateway/backends/notices.py` finds out which notices hold; here they are read from PostgreSQL, so
that no API key is needed.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from rich.markup import escape

from ops.errors import LalafoError

if TYPE_CHECKING:
    from gateway.schemas.notices import NoticeOut
    from resources.postgres.database import Database
    from resources.settings import Settings

COLOURS = {"error": "red", "warning": "yellow", "info": "dim"}
READ_EVERY_S = 5.0


def read(database: "Database", settings: "Settings") -> "list[NoticeOut]":
    """Return the notices that hold now; raises RetryableError if PostgreSQL is unavailable."""
    from gateway.backends.notices import read_notices

    with database.cursor() as cursor:
        return read_notices(
            cursor, topic=settings.ads_topic, stream_id=settings.stream_id or None, log=None
        )


def line(notice: "NoticeOut") -> str:
    """Return a notice as a line with rich's markup: its message, and the command that helps."""
    colour = COLOURS[notice.severity]
    helps = "" if notice.action is None else f"  →  {escape(notice.action)}"
    return f"[{colour}]{notice.severity}:[/] {escape(notice.message)}{helps}"


def lines(notices: "Iterable[NoticeOut]") -> list[str]:
    """Return the notices as lines, in their order."""
    return [line(notice) for notice in notices]


class NoticeWatch:
    """Prints each notice of a running stack once, when it begins to hold.

    Args:
        read: returns the notices that hold now; may raise LalafoError.
        say: prints a line with rich's markup.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        read: "Callable[[], Sequence[NoticeOut]]",
        say: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._say, self._clock = read, say, clock
        self._said: set[tuple[str, object]] = set()
        self._due = float("-inf")

    def check(self) -> None:
        """Read the notices if the last reading was long ago, and print those that are new.

        What only says that a session is loading is not printed. An unavailable PostgreSQL is waited
        for: the stack starts it again.
        """
        if self._clock() < self._due:
            return
        self._due = self._clock() + READ_EVERY_S
        with suppress(LalafoError):
            found = [it for it in self._read() if it.severity != "info"]
            for notice in found:
                if (notice.code, notice.at) not in self._said:
                    self._say(line(notice))
            self._said = {(notice.code, notice.at) for notice in found}


def stack_notices(settings: "Settings") -> "list[NoticeOut]":
    """Return the notices by a connection of their own; raises LalafoError if there is none."""
    from resources.postgres.database import Database

    with closing(Database.from_settings(settings)) as database:
        return read(database, settings)
