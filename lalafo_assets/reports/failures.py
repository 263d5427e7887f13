"""The project's own errors as Dagster failures."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ops.errors import LalafoError, RetryableError


@contextmanager
def plain_failures() -> Iterator[None]:
    """Our own errors fail a run in their own words: they say what to do, a stack trace does not."""
    try:
        yield
    except LalafoError as error:
        kind = type(error).__name__
        raise dg.Failure(
            f"{kind}: {error}", allow_retries=isinstance(error, RetryableError)
        ) from None
