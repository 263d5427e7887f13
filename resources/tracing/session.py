"""The tracing of a session: spans, or the object that does nothing, chosen once at its start."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ops.session.ports import NO_TRACING, Tracing
from resources.settings import Settings
from resources.tracing.open import open_tracing

SERVICE = "lalafo-session"


@contextmanager
def session_tracing(settings: Settings) -> Iterator[Tracing]:
    """Yield a session's tracing; what is left is exported on exit.

    Raises:
        ConfigurationError: tracing is on, and OpenTelemetry is missing.
    """
    spans = open_tracing(settings, service=SERVICE)
    if spans is None:
        yield NO_TRACING
        return
    with closing(spans):
        yield spans
