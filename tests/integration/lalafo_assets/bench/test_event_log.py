"""`lalafo bench event-log`: what an hour of reports adds to Dagster's storage."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_json_is_all_that_is_printed() -> None:
    """One JSON document on standard output; Dagster's records are not on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "lalafo_assets.cli", "bench", "event-log", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["rows_per_hour"] > 500 and found["mb_per_hour"] > 0
