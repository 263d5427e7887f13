"""Keeps a fault of one ad, photo or record from the others beside it, in both lanes.

Owns three rules:

- An exception that no stage expects becomes the failure of the item that raised it, with the
  reason `internal_error`. Unavailable infrastructure and wrong settings are not faults of items.
- If a batch raises, `divided` halves it until the item at fault is alone. Its neighbours pass.
- If many different items in a row fail at a stage and none passes, the items are not at fault. The
  circuit breaker opens: the session or the run ends with the exception, instead of turning the
  whole topic or day into failures. What a session has failed until then is committed, so that it
  always advances.
"""

import asyncio
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog

from ops.errors import (
    BadInputError,
    CircuitOpenError,
    ConfigurationError,
    LalafoError,
    LeaseLostError,
    PhotosGoneError,
    Reason,
    ReleaseChangedError,
    RetryableError,
)
from ops.types import Failure

T = TypeVar("T")
R = TypeVar("R")

MAX_DETAIL_CHARS = 500
PROJECT_PACKAGES = ("ops.", "resources.", "gateway.", "sensors.", "lalafo_assets.")
FAILURES_IN_A_ROW = 20
"""So many different items that fail at a stage, while none passes, are hardly at fault."""

log = structlog.get_logger()


class SessionEnded(Exception):
    """The session ended while a stage waited to retry."""


_NOT_OF_ITEMS = (
    *(RetryableError, ConfigurationError, LeaseLostError, ReleaseChangedError, PhotosGoneError),
    *(CircuitOpenError, SessionEnded, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError),
)


def is_of_item(error: BaseException) -> bool:
    """Whether an exception, raised while an item was processed, is a fault of that item.

    Also exceptions that descend from BaseException alone, as panics of Rust libraries do.
    """
    return not isinstance(error, _NOT_OF_ITEMS)


def is_crash(error: BaseException | None) -> bool:
    """Whether an exception that ends a session counts as its death: see `careful.py`."""
    return isinstance(error, Exception) and not isinstance(error, LalafoError)


def divided(
    items: Sequence[T],
    act: Callable[[Sequence[T]], Iterable[R]],
    fail: Callable[[T, BaseException], Iterable[R]],
    *,
    is_fault: Callable[[BaseException], bool] = is_of_item,
) -> list[R]:
    """The results of `act` for all items, in order; after a fault in halves, then one by one.

    A single item is tried twice, because an error may strike at random (as for lack of memory).

    Args:
        act: has no effect when it raises, or one that may be repeated.
        fail: the results for a single item for which `act` raised.
    """
    fault: BaseException | None = None
    for _ in range(2 if len(items) == 1 else 1):
        try:
            return list(act(items))
        except BaseException as error:
            if not is_fault(error):
                raise
            fault = error
    if len(items) == 1:
        assert fault is not None
        return list(fail(items[0], fault))
    fault = None  # its traceback holds what the batch occupied in memory
    middle = len(items) // 2
    halves = items[:middle], items[middle:]
    return [result for half in halves for result in divided(half, act, fail, is_fault=is_fault)]


def describe(error: BaseException) -> str:
    """The exception's type, and where it was raised: never its message, which may hold content."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return _type_name(error)
    places = [
        f"{frame.f_globals.get('__name__', '?')}:{line} ({frame.f_code.co_name})"
        for frame, line in frames
    ]
    text = f"{_type_name(error)} in {places[-1]}"
    own = [place for place in places if place.startswith(PROJECT_PACKAGES)]
    if own and own[-1] != places[-1]:
        text += f", called from {own[-1]}"
    return text.encode("ascii", "replace").decode()[:MAX_DETAIL_CHARS]


class ItemFaults:
    """Internal errors: counted by stage, logged, limited by a circuit breaker. Thread-safe.

    Args:
        limit: so many different items in a row open the circuit breaker of a stage.
        log_as: the name of the log line.
        again: what a person does about the failed items once the cause is corrected.
    """

    def __init__(
        self,
        limit: int = FAILURES_IN_A_ROW,
        *,
        log_as: str = "session.internal_error",
        again: str = f"replay what has failed ({Reason.INTERNAL_ERROR})",
    ) -> None:
        self.limit = limit
        self._log_as = log_as
        self._again = again
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._logged: set[tuple[str, str]] = set()
        self._in_a_row: dict[str, set[Hashable]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of internal errors by stage."""
        with self._lock:
            return dict(self._counts)

    def passed(self, stage: str) -> None:
        """Close the stage's circuit breaker: an item has passed."""
        if stage in self._in_a_row:
            self._in_a_row.pop(stage, None)

    def failure(self, stage: str, item: Hashable, error: BaseException) -> Failure:
        """The failure of an item that raised this error.

        Raises:
            CircuitOpenError: too many different items in a row have failed at this stage.
        """
        if isinstance(error, BadInputError):
            return Failure(error.reason, error.detail)
        self.record(stage, error)
        with self._lock:
            failed = self._in_a_row.setdefault(stage, set())
            failed.add(item)
            if len(failed) >= self.limit:
                raise CircuitOpenError(
                    f"{len(failed)} different items in a row failed at the stage {stage!r} and "
                    f"none passed, the last with {describe(error)}. The items are hardly at fault: "
                    f"see the log for the stack trace, correct the cause, and {self._again}"
                ) from error
        return Failure(Reason.INTERNAL_ERROR, describe(error))

    def record(self, stage: str, error: BaseException) -> None:
        """Count and log an error; the log has one stack trace for each kind."""
        what = describe(error)
        with self._lock:
            self._counts[stage] += 1
            first = (stage, what) not in self._logged
            self._logged.add((stage, what))
        if first:
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error(self._log_as, stage=stage, error=what, stack=stack)


def batch_faults() -> ItemFaults:
    """The internal errors of one run of the batch lane."""
    return ItemFaults(log_as="batch.internal_error", again="start the run again")


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
