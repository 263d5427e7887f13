"""Settings as the environment variables that give them."""

import json

import pytest

from resources.settings import Settings


def export(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every variable; what is not text, a number or a truth value is JSON."""
    for name, value in settings.model_dump(mode="json").items():
        text = json.dumps(value) if isinstance(value, dict | list) else str(value)
        monkeypatch.setenv(f"LALAFO_{name.upper()}", text)
