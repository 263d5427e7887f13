"""The retry policy of the clients, as a generator that a blocking or an asyncio client runs.

Owns which errors are retried, after which pause, and for how long. Does no I/O and reads no clock
of its own. Every call may be sent twice: calls that are not idempotent send an Idempotency-Key.
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
from gateway.client.errors import LalafoApiError, error_of, is_retryable, no_answer

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """A step of a plan: the client sleeps for `seconds`."""

    seconds: float


Outcome: TypeAlias = "httpx.Response | httpx.RequestError | None"
"""The result of a Call; None after a Pause."""

Plan: TypeAlias = Generator["Call | Pause", Outcome, T]
"""The steps of a client method: the client sends each Call or sleeps, and sends back the outcome.
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long, and after which pauses, a call is retried.

    Args:
        patience_s: no attempt starts later than this after the first; 0: a single attempt.
        clock: monotonic, seconds.
        jitter: returns random numbers in [0, 1).
    """

    patience_s: float
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Seconds before the next attempt: exponential backoff with full jitter, or Retry-After.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

        Args:
            attempt: 0 after the first attempt.
            retry_after_s: the response's Retry-After; None: it has none.
        """
        # 2.0 ** 64 is far above any maximum; 2.0 ** 1024 would overflow.
        span = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 64))
        if retry_after_s is not None:
            # Never before Retry-After; the jitter keeps clients from returning at the same time.
            return retry_after_s + FIRST_PAUSE_S * self.jitter()
        return span * self.jitter()


def with_retries(call: Call, policy: Policy) -> Plan[httpx.Response]:
    """The plan of a call with retries; its result is a successful response.

    Raises:
        LalafoApiError: the response was not a success, and the error is not retryable or
            `patience_s` is over.
    """
    deadline = policy.clock() + policy.patience_s
    for attempt in itertools.count():
        outcome = yield call
        if isinstance(outcome, httpx.Response) and outcome.is_success:
            return outcome
        error = _error(outcome, call)
        pause_s = policy.pause_s(attempt, retry_after_s(outcome))
        if not is_retryable(error) or policy.clock() + pause_s > deadline:
            raise error from (outcome if isinstance(outcome, Exception) else None)
        yield Pause(pause_s)
    raise AssertionError("itertools.count() has no end")


def retry_after_s(outcome: Outcome) -> float | None:
    """The seconds in a response's Retry-After: a number or a date (RFC 9110, 10.2.3).

    A date is compared with the response's own `Date`, so that a wrong local clock does no harm.

    Returns:
        None if there is no valid Retry-After.
    """
    if not isinstance(outcome, httpx.Response):
        return None
    text = outcome.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment = _moment(text)
    if moment is None:
        return None
    now = _moment(outcome.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _error(outcome: Outcome, call: Call) -> LalafoApiError:
    if isinstance(outcome, httpx.Response):
        return error_of(outcome)
    assert outcome is not None  # the client sends back the outcome of every Call
    return no_answer(outcome, httpx.URL(call.url))
