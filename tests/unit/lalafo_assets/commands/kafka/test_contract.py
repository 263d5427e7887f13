"""The contract of the topics: the file is what the code says, and it is well formed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from typer.testing import CliRunner

from lalafo_assets.cli import app
from lalafo_assets.commands.kafka.contract import as_yaml, document
from ops.events.parse import EventLimits
from resources.kafka.connection import StreamConfig

FILE = Path(__file__).parents[5] / "docs" / "asyncapi.yaml"


def contract() -> dict[str, Any]:
    config = StreamConfig("", None, "", "ads", "ads.dlq")
    return document(config, EventLimits())


def test_the_file_is_what_the_code_says(tmp_path, monkeypatch) -> None:
    """`lalafo topics --asyncapi > docs/asyncapi.yaml` after a change of an event or a topic."""
    assert FILE.read_text() == as_yaml(contract())
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    printed = CliRunner().invoke(app, ["topics", "--asyncapi"])
    assert printed.output == FILE.read_text()


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_is_well_formed() -> None:
    """Every reference leads somewhere, every schema is one of draft 7, every topic is there."""
    parsed = yaml.safe_load(FILE.read_text())
    assert parsed["asyncapi"] == "3.0.0"
    found = list(references(parsed))
    assert len(found) == 9
    for reference in found:
        part = parsed
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    addresses = {channel["address"] for channel in parsed["channels"].values()}
    assert addresses == {"ads", "ads.feedback", "ads.scored", "ads.dlq"}
    for message in parsed["components"]["messages"].values():
        schema = message["payload"].get("schema", {})
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.Draft7Validator.check_schema(message.get("headers", {}))


def test_the_names_and_limits_are_those_of_the_settings() -> None:
    """Another installation prints its own contract."""
    other = document(StreamConfig("", None, "", "kg", "kg.dead"), EventLimits(max_photos=7))
    assert [it["address"] for it in other["channels"].values()] == [
        *("kg", "kg.feedback", "kg.scored", "kg.dead")
    ]
    assert "'maxItems': 7" in str(other)
