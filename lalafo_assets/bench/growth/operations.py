"""What `lalafo bench growth` times, and how: repeated calls, each after its own preparation."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

WARM = 5
TIMES = 31


@dataclass(frozen=True, slots=True)
class Place:
    """A filled database, and what the operations use beside it."""

    database: Database
    ads: int
    folder: Path
    connection: psycopg.Connection[Any]  # in autocommit mode, as those of the gateway

    @property
    def store(self) -> PhotoStore:
        """A store for the objects that upkeep deletes."""
        return PhotoStore(str(self.folder / "store"), fsync=False)

    def execute(self, statement: str, values: Any = None) -> list[Any]:
        """Execute a statement for a preparation; returns its rows, [] without a result."""
        cursor = self.connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def _nothing(_: int) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `run` is timed, with the number of the call; `prepare` comes before it."""

    name: str
    run: Callable[[int], object]
    prepare: Callable[[int], object] = _nothing
    times: int = TIMES
    warm: int = WARM


def median_ms(operation: Operation) -> float:
    """The median time of an operation's calls, after calls that are not counted."""
    times_ms = []
    for number in range(operation.warm + operation.times):
        operation.prepare(number)
        started = time.perf_counter()
        operation.run(number)
        times_ms.append((time.perf_counter() - started) * 1000)
    return statistics.median(times_ms[operation.warm :])


def numbers(ads: int, seed: int) -> Iterator[int]:
    """Numbers of ads at random, none twice."""
    import random

    dice = random.Random(seed)  # noqa: S311 - not a secret
    yield from dice.sample(range(ads), min(ads, 10_000))
