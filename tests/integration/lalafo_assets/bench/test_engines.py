"""`lalafo bench engines`: a row for each engine, measured in a process of its own."""

import json

import pytest
from typer.testing import CliRunner

from lalafo_assets.cli import app
from ops.errors import ConfigurationError


def bench(*options: str) -> dict[str, object]:
    ended = CliRunner().invoke(app, ["bench", "engines", *options, "--json"])
    if ended.exception is not None:
        raise ended.exception
    (line,) = ended.stdout.splitlines()
    return json.loads(line)


@pytest.mark.slow
def test_a_row_has_the_time_the_memory_and_the_cosine() -> None:
    """Of each engine and precision, beside the backbone and the versions."""
    found = bench("--only", "traced,openvino", "--threads", "1")
    rows = {(row["engine"], row["precision"]): row for row in found["rows"]}
    assert {engine for engine, _ in rows} == {"traced", "openvino"}
    assert {precision for _, precision in rows} in ({"fp32"}, {"fp32", "bf16"})
    assert len(rows) == len(found["rows"])
    for row in rows.values():
        assert row["threads"] == 1
        assert set(row["ms_per_photo"]) == {"1", "4", "32"}
        assert min(row["ms_per_photo"].values()) > 0
        assert row["load_s"] > 0 and row["rss_mb"] > 50
        assert row["cosine"] > 0.999
    assert found["backbone"] == "mobilenet_v3_small (starter)"


@pytest.mark.parametrize(
    "options", [("--only", "tensorrt"), ("--threads", "0"), ("--threads", "x")]
)
def test_options_are_checked_first(options: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="expected of eager"):
        bench(*options)
