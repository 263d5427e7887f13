"""`lalafo settings`: every setting with its source; secrets are never printed."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lalafo_assets.cli import app
from lalafo_assets.commands.settings import MASK
from resources.settings import Settings


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"LALAFO_{field.upper()}", raising=False)
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")


def settings(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["settings", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_every_setting_is_listed_with_its_purpose() -> None:
    """In the declared order, each with its description, on lines of the terminal's width."""
    text = settings()
    names = re.findall(r"^(LALAFO_\w+)=", text, re.M)
    assert names == [f"LALAFO_{field.upper()}" for field in Settings.model_fields]
    words = " ".join(text.split())
    for info in Settings.model_fields.values():
        assert info.description is not None and " ".join(info.description.split()) in words


def test_what_is_set_is_marked_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """--changed lists those alone; a part of a name picks settings."""
    monkeypatch.setenv("LALAFO_SESSIONS", "3")
    text = settings("--changed")
    assert "LALAFO_SESSIONS=3  (environment; default: 1)" in text
    assert "LALAFO_COMMIT_ADS" not in text
    assert set(re.findall(r"^(LALAFO_\w+)=", settings("sessions"), re.M)) == {"LALAFO_SESSIONS"}


def test_json_is_one_document_with_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, value, default, source and description of each."""
    monkeypatch.setenv("LALAFO_REQUIRE_BROKER", "1")
    found = {row["name"]: row for row in json.loads(settings("--json"))}
    assert len(found) == len(Settings.model_fields)
    row = found["LALAFO_REQUIRE_BROKER"]
    assert (row["value"], row["default"], row["source"]) == ("true", "false", "environment")


SECRETS = {
    "LALAFO_DATABASE_URL": "postgresql://u:s3cret@db.example:5433/ads",
    "LALAFO_DAGSTER_DATABASE_URL": "host=other dbname=dagster password=s3cret",
    "LALAFO_GATEWAY_KEY": "lv_s3cret",
    "LALAFO_KAFKA_SASL_PASSWORD": "s3cret",
    "LALAFO_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "s3cret",
    "LALAFO_KAFKA_SSL_KEY_PASSWORD": "s3cret",
}


@pytest.mark.parametrize("form", [[], ["--json"], ["--changed"]])
def test_a_secret_is_never_printed(form: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A database is named without its password; of other secrets only that they are set."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    text = settings(*form)
    assert "s3cret" not in text
    assert "db.example/ads" in text and "other/dagster" in text
    assert text.count(MASK) == 4


def test_values_of_the_properties_file_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where they come from."""
    file = tmp_path / "kafka.properties"
    file.write_text("bootstrap.servers=kafka.example:9092\n")
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    assert "LALAFO_KAFKA_BOOTSTRAP=kafka.example:9092  (LALAFO_KAFKA_CONFIG;" in settings()
