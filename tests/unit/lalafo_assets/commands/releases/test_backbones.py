"""`lalafo backbones` for people and programs."""

import json

import pytest
from typer.testing import CliRunner

from lalafo_assets.cli import app


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["backbones", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def no_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_the_document_has_each_backbone():
    """In the order of the arguments; what can't be measured is not there unless asked for."""
    found = json.loads(run("mobilenet_v3_small", "timm:tf_efficientnet_lite[01]", "--json"))
    assert [it["name"] for it in found] == [
        "mobilenet_v3_small",
        "timm:tf_efficientnet_lite0",
        "timm:tf_efficientnet_lite1",
    ]
    starter, lite0, lite1 = found
    assert starter["weights"] == ["starter", "download"]
    assert lite0 == {
        "name": "timm:tf_efficientnet_lite0",
        "dimension": 1280,
        "parameters": 4_652_008 - 1_281_000,  # of the whole network, and of its classifier
        "size": 224,
        "resize": "center",
        "weights": ["package", "download"],
        "licence": "apache-2.0",
    }
    assert (lite1["size"], lite1["weights"]) == (240, ["download"])


def test_people_get_a_table():
    lines = run("mobilenet_v3_small").splitlines()
    assert lines[0].split() == ["backbone", "length", "parameters", "input", "weights"]
    assert lines[-1].split() == [
        *("mobilenet_v3_small", "576", "0.9", "M", "224", "starter,", "download")
    ]


@pytest.mark.slow
def test_speed_is_measured_on_request():
    """By the engine that a session would use, for 1, 4 and 32 photos at once."""
    printed = run("timm:mobilenetv3_small_050", "--measure", "--json")
    (found,) = json.loads(printed.splitlines()[-1])  # behind log records
    assert found["speed"]["engine"] in ("traced", "openvino")
    assert set(found["speed"]["by_count"]) == {"1", "4", "32"}
    assert min(found["speed"]["by_count"].values()) > 0
