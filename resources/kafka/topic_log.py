"""A topic's log: its identity, its partitions, and positions that are outside it."""

from dataclasses import dataclass

from ops.errors import LalafoError


@dataclass(frozen=True, slots=True)
class TopicLog:
    """What a topic is at one moment: a topic that is created again is another log."""

    id: str
    partitions: tuple[int, ...]  # ascending


@dataclass(frozen=True, slots=True)
class OffsetOutOfLog:
    """A position outside the log: trimmed by retention, or an offset of another log."""

    topic: str
    partition: int
    offset: int  # the next one to read
    beginning: int  # first offset in the log, inclusive
    end: int  # exclusive; `offset == end` is a valid position

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: offset {self.offset} is outside the log "
            f"[{self.beginning}, {self.end}]"
        )


class OffsetOutOfLogError(LalafoError):
    """Positions are outside the log; the caller chooses new ones and calls `assign` again.

    A position before the beginning means that retention removed records; one beyond the end means
    that the log is another one.
    """

    def __init__(self, positions: tuple[OffsetOutOfLog, ...]) -> None:
        super().__init__("; ".join(str(position) for position in positions))
        self.positions = positions
