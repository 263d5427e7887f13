"""When a client asks again: the policy as a generator, which a driver with or without an event
loop runs.

Decides what is tried again, after which pause, and when enough is enough; refuses to know sockets
and clocks of its own. Every call that comes here may be sent twice: calls that would not bear that
carry an Idempotency-Key.
"""

import itertools
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import httpx

from gateway.client.calls import Call
from gateway.client.errors import LalafoApiError, error_of, may_pass, no_answer

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """The driver sleeps so long, and goes on."""

    seconds: float


Came: TypeAlias = "httpx.Response | httpx.RequestError | None"
Plan: TypeAlias = Generator["Call | Pause", Came, T]
"""What a driver does: it sends what it is given, or sleeps, and hands back what came of it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a call goes on trying.

    Args:
        patience_s: no attempt begins later than this after the first; 0 tries once.
        clock: monotonic, seconds.
        dice: in [0, 1), for the jitter.
    """

    patience_s: float
    clock: Callable[[], float] = time.monotonic
    dice: Callable[[], float] = random.random

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Before the next attempt: full jitter over a doubling span, after what the server told.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

        Args:
            attempt: 0 after the first.
        """
        # 2.0 ** 64 is far past any span, and 2.0 ** 1024 would overflow
        span = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 64))
        if retry_after_s is not None:
            # Never before the time told; a little spread, so that not all come back at once.
            return retry_after_s + FIRST_PAUSE_S * self.dice()
        return span * self.dice()


def persist(call: Call, policy: Policy) -> Plan[httpx.Response]:
    """The plan of a call: its answer, a success.

    Raises:
        LalafoApiError: the answer was no success, and asking again is of no use or out of time.
    """
    deadline = policy.clock() + policy.patience_s
    for attempt in itertools.count():
        came = yield call
        if isinstance(came, httpx.Response) and came.is_success:
            return came
        error = _error(came, call)
        pause_s = policy.pause_s(attempt, retry_after_s(came))
        if not may_pass(error) or policy.clock() + pause_s > deadline:
            raise error from (came if isinstance(came, Exception) else None)
        yield Pause(pause_s)
    raise AssertionError("itertools.count() has no end")


def retry_after_s(came: Came) -> float | None:
    """Seconds to wait by the answer's Retry-After, which is a number or a date (RFC 9110, 10.2.3);
    None where it has none that can be read.

    A date is held against the answer's own `Date`, so that a wrong clock here does no harm.
    """
    if not isinstance(came, httpx.Response):
        return None
    text = came.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment = _moment(text)
    if moment is None:
        return None
    now = _moment(came.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _error(came: Came, call: Call) -> LalafoApiError:
    if isinstance(came, httpx.Response):
        return error_of(came)
    assert came is not None  # a driver hands back what came of a call
    return no_answer(came, httpx.URL(call.url))
