"""Settings are read from the environment; every invalid variable is named."""

import pytest

from ops.errors import ConfigurationError
from resources.settings import changed_settings, load_settings


def test_the_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set later is seen by the next call; an import reads nothing."""
    monkeypatch.setenv("LALAFO_COMMIT_ADS", "7")
    assert load_settings().commit_ads == 7
    monkeypatch.setenv("LALAFO_COMMIT_ADS", "8")
    assert load_settings().commit_ads == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEVICE", "tpu"), ("EXECUTOR", "celery"), ("COMMIT_ADS", "0"), ("FETCH_TIMEOUT_S", "soon")],
)
def test_a_wrong_value_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the variable and its value."""
    monkeypatch.setenv(f"LALAFO_{name}", value)
    with pytest.raises(ConfigurationError, match=f"LALAFO_{name}='{value}'"):
        load_settings()


def test_an_override_wins_even_where_it_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit 0 is a value."""
    monkeypatch.setenv("LALAFO_TORCH_THREADS", "4")
    assert changed_settings({"torch_threads": 0}).torch_threads == 0
    with pytest.raises(ConfigurationError, match="LALAFO_DEVICE"):
        changed_settings({"device": "abacus"})


def test_the_store_is_below_home_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable moves all local state; another moves the store alone."""
    monkeypatch.setenv("LALAFO_HOME", "/somewhere")
    assert load_settings().resolved_store_url == "/somewhere/store"
    monkeypatch.setenv("LALAFO_STORE_URL", "s3://bucket/photos")
    assert load_settings().resolved_store_url == "s3://bucket/photos"


def test_an_empty_home_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the current folder, which would fill with the state of a stack."""
    monkeypatch.setenv("LALAFO_HOME", "")
    assert str(load_settings().home) == ".lalafo"
