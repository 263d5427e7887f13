"""The switch of tracing, `LALAFO_TRACING`: while it is off, OpenTelemetry is not imported."""

import os
from typing import TYPE_CHECKING

from ops.errors import ConfigurationError
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.tracing.spans import Spans


def open_tracing(settings: Settings, *, service: str) -> "Spans | None":
    """Set up tracing for this process; None while it is off. The caller closes it.

    Args:
        service: the service's name, unless OTEL_SERVICE_NAME gives one.

    Raises:
        ConfigurationError: the packages of the extra `otel` are missing.
    """
    if not settings.tracing or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from resources.tracing.spans import new_spans
    except ImportError as error:
        raise ConfigurationError(
            "LALAFO_TRACING is on, and OpenTelemetry is not installed: install the extra, "
            "`pip install 'lalafo-vision[otel]'`, or unset it."
        ) from error
    return new_spans(service)
