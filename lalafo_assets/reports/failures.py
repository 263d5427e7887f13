"""Turns the project's own errors into Dagster failures."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ops.errors import LalafoError, RetryableError


@contextmanager
def plain_failures() -> Iterator[None]:
    """Raise dg.Failure for a LalafoError: its message says what to do, a stack trace does not.

    Dagster retries the step only for a RetryableError.
    """
    try:
        yield
    except LalafoError as error:
        kind = type(error).__name__
        raise dg.Failure(
            f"{kind}: {error}", allow_retries=isinstance(error, RetryableError)
        ) from None
