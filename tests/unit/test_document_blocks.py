"""The documents' examples of data are what the code reads and writes."""

import json
import os
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import yaml

from gateway.schemas.ads import Accepted, FeedbackOut, ProblemOut, UploadOut
from gateway.schemas.duplicates import DuplicatesPage
from gateway.schemas.notices import NoticesOut
from gateway.schemas.releases import LiveReleaseOut
from lalafo_assets.stack.environment import DAGSTER_STORAGE
from ops.events.parse import EventLimits
from ops.events.schemas import event_schema, scored_schema
from resources.kafka.security.access import KafkaAccess
from resources.postgres.conninfo import Conninfo
from resources.settings import load_settings
from sensors.failures import Alert
from tests.support.certificates import make_certificates
from tests.support.documents import ROOT, Block, all_blocks, blocks_of

EXAMPLES = ROOT / "docs" / "examples"
EVENT, SCORED = event_schema(EventLimits()), scored_schema()
RESPONSES: dict[str, type[pydantic.BaseModel]] = {
    "known_revision": Accepted,
    "duplicates": DuplicatesPage,
    "known": FeedbackOut,
    "bytes": UploadOut,
    "title": ProblemOut,
    "labels": LiveReleaseOut,
    "notices": NoticesOut,
}
"""The model of an answer, by a field that only it has."""


def only(blocks: list[Block], part: str) -> str:
    (text,) = (block.text for block in blocks if part in block.text)
    return text


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_json_is_what_the_code_reads_or_writes(block: Block) -> None:
    """By the schema of the topic, the model of the answer, or the body of the webhook."""
    value: dict[str, Any] = json.loads(block.text)
    if value.get("kind") == "upserted":
        jsonschema.validate(value, EVENT, cls=jsonschema.Draft7Validator)
    elif value.get("schema") == 1:
        jsonschema.validate(value, SCORED, cls=jsonschema.Draft7Validator)
    elif "ui" in value:
        assert list(value) == [field.name for field in fields(Alert)]
    elif "kafka_partition" in value:
        code = (ROOT / "resources/sessions/reading/unreadable.py").read_text()
        sent = code.split("def _alert")[1].split("}\n        try")[0]
        assert set(value) == set(re.findall(r'"(\w+)":', sent))
    elif "results" in value:
        assert block.document == "docs/api.md"  # tests/e2e/test_documents.py gets such an answer
    else:
        (model,) = (model for field, model in RESPONSES.items() if field in value)
        read = model.model_validate(value)
        assert set(read.model_dump()) == set(value)


@pytest.mark.parametrize("line", (EXAMPLES / "events.jsonl").read_text().splitlines())
def test_an_event_to_try_is_one_and_its_photo_is_there(line: str) -> None:
    event = json.loads(line)
    jsonschema.validate(event, EVENT, cls=jsonschema.Draft7Validator)
    for photo in event["photos"]:
        assert (EXAMPLES / "photos" / photo["url"].rpartition("/")[2]).is_file()


def test_the_readme_shows_the_first_event_of_the_file() -> None:
    shown = json.loads(only(blocks_of("README.md", "json"), "upserted"))
    assert shown == json.loads((EXAMPLES / "events.jsonl").read_text().splitlines()[0])


def test_dagster_s_storage_is_the_same_everywhere() -> None:
    """In `lalafo up`, the file to append, and the document."""
    stack = yaml.safe_load(DAGSTER_STORAGE)
    assert yaml.safe_load((EXAMPLES / "dagster-storage.yaml").read_text()) == stack
    assert yaml.safe_load(only(blocks_of("docs/deployment.md", "yaml"), "storage:")) == stack
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert "storage" not in instance, "appended, it would be there twice"


def test_the_workspaces_name_one_code_location() -> None:
    server = yaml.safe_load((EXAMPLES / "workspace.yaml").read_text())["load_from"][0]
    module = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]
    names = {server["grpc_server"]["location_name"], module["python_module"]["location_name"]}
    assert names == {"lalafo_assets"}


@pytest.mark.parametrize("block", all_blocks("properties"), ids=str)
def test_a_properties_file_for_kafka_is_accepted(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text(block.text)
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    access = KafkaAccess.from_settings(load_settings())
    assert access.encrypts and access.mechanism != ""


@pytest.mark.parametrize(
    ("part", "mechanism"), [("SCRAM", "SCRAM-SHA-512"), ("SSL_CA_LOCATION", "")]
)
def test_exports_for_kafka_are_accepted(
    part: str, mechanism: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell as they stand; the certificates of the second are the test's."""
    text = only(blocks_of("docs/deployment.md", "sh"), part)
    made = make_certificates(tmp_path)
    for name, file in {"ca.pem": made.authority, "client.crt": made.certificate}.items():
        text = text.replace(f"/etc/lalafo/{name}", str(file))
    text = text.replace("/etc/lalafo/client.key", str(made.key))
    done = subprocess.run(
        ["bash", "-c", f"{text}\nenv -0"], env=dict(os.environ), capture_output=True, text=True
    )
    for line in done.stdout.split("\0"):
        name, _, value = line.partition("=")
        if name.startswith("LALAFO_KAFKA_"):
            monkeypatch.setenv(name, value)
    access = KafkaAccess.from_settings(load_settings())
    assert access.encrypts and access.mechanism == mechanism


@pytest.mark.parametrize(
    "line", only(blocks_of("docs/deployment.md", "text"), "postgresql://").splitlines()
)
def test_a_connection_string_is_read(line: str) -> None:
    assert "lalafo" in Conninfo.parse(line).text()
