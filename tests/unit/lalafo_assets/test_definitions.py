"""All ways of loading the definitions find the same ones, or runs could not be found."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from lalafo_assets.definitions import defs
from lalafo_assets.stack.supervisor import LOCATION, ROOT, running_stack


def test_all_ways_of_loading_name_one_location() -> None:
    """A run launched by `dagster` or `dg` is found by the daemon of `lalafo up`."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["location_name"] == LOCATION
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    project = tool["dg"]["project"]
    assert project["code_location_name"] == LOCATION
    module = project["code_location_target_module"]
    assert module == entry["python_module"]["module_name"] == tool["dagster"]["module_name"]


@pytest.mark.slow
def test_dg_loads_everything_without_servers_or_settings(tmp_path: Path) -> None:
    """`dg check defs` and `dg list defs` work in a fresh clone, and warn of nothing."""
    assert "All definitions loaded successfully." in _dg(tmp_path, "check", "defs")
    found = json.loads(_dg(tmp_path, "list", "defs", "--json"))
    loaded = defs().get_repository_def()
    assets = {key.to_user_string() for key in loaded.asset_graph.get_all_asset_keys()}
    assert {asset["asset_key"] for asset in found["assets"]} == assets
    jobs = {job.name for job in loaded.get_all_jobs() if not job.name.startswith("__")}
    assert {job["name"] for job in found["jobs"]} == jobs


def _dg(home: Path, *command: str) -> str:
    """What `dg` says, which it says on stdout alone, in an environment that knows nothing of us."""
    config = home / "dg.toml"
    config.write_text("[cli.telemetry]\nenabled = false\n")
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DAGSTER_", "DG_", "LALAFO_"))
    }
    ended = subprocess.run(
        [sys.executable, "-m", "dagster_dg_cli.cli", *command],
        cwd=ROOT,
        env={**others, "HOME": str(home), "DG_CLI_CONFIG": str(config)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    return ended.stdout


def test_there_is_no_running_stack_without_its_process(tmp_path: Path) -> None:
    """The file that a killed stack left is ignored."""
    assert running_stack(tmp_path) is None
    (tmp_path / "stack.json").write_text('{"pid": 4194400, "ui_url": "", "exports": {}}')
    assert running_stack(tmp_path) is None
