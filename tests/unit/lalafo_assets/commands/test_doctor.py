"""`lalafo doctor`: a line for each check, and one JSON document for programs."""

import json
import os

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.cli import app


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting, so that the checks end there: the others need seconds."""
    for name in [name for name in os.environ if name.startswith("LALAFO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LALAFO_DEVICE", "tpu")


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_check_is_a_line_and_its_fix_another(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the terminal's width; the status is 1 where the demo can't run."""
    monkeypatch.setenv("COLUMNS", str(columns))
    done = doctor()
    assert done.exit_code == 1
    assert "Python    ✓" in done.output and "settings  ✗ LALAFO_DEVICE='tpu'" in done.output
    assert "→ correct this variable" in done.output
    assert max(map(len, done.output.splitlines())) <= columns


def test_json_is_one_document_with_the_same_status() -> None:
    """Also where a check fails: programs read why."""
    done = doctor("--json")
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    grades = {check["subject"]: check["grade"] for check in json.loads(line)}
    assert grades == {"Python": "ok", "settings": "failed"}
