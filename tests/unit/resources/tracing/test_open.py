"""The switch `LALAFO_TRACING`: off costs nothing, on needs the packages."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ops.errors import ConfigurationError
from ops.session.ports import NO_TRACING
from resources.settings import Settings
from resources.tracing.open import open_tracing
from resources.tracing.session import session_tracing


def test_off_imports_nothing_of_opentelemetry() -> None:
    """Neither the gateway's application nor a session's parts. (FastAPI imports the API.)"""
    program = (
        "import sys\n"
        "from gateway.app import make_app\n"
        "import resources.sessions.live\n"
        "from resources.settings import Settings\n"
        "from resources.tracing.session import session_tracing\n"
        "settings = Settings(database_url='postgresql://u@h/d')\n"
        "app = make_app(settings)\n"
        "with session_tracing(settings):\n"
        "    pass\n"
        "assert 'resources.tracing.spans' not in sys.modules\n"
        "assert not [it for it in sys.modules if it.startswith('opentelemetry.sdk')]\n"
        "assert not [it for it in app.user_middleware if 'Tracing' in repr(it)]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_off_reads_and_makes_nothing() -> None:
    """A session without tracing gets one object, whose spans are one object, and the batch's
    traceparents are not even listed. What came from elsewhere is passed on."""

    def never() -> Iterator[str]:
        raise AssertionError("read")
        yield ""

    with session_tracing(Settings()) as tracing:
        assert tracing is NO_TRACING
        assert tracing.batch("model", never()) is tracing.batch("commit", never())
        with tracing.batch("model", never()), tracing.batch("commit", never()):
            assert tracing.announced(["", "a"]) == [None, "a"]


def test_the_standard_switch_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED is OpenTelemetry's own."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_tracing(Settings(tracing=True), service="s") is None


def test_on_without_the_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, instead of a session without traces."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "resources.tracing.spans", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'lalafo-vision\[otel\]'"):
        open_tracing(Settings(tracing=True), service="s")


def test_an_exporter_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those that are."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigurationError, match="'zipkin' needs the exporter zipkin, which is no"):
        open_tracing(Settings(tracing=True), service="s")
