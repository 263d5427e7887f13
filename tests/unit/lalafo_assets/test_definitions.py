"""The workspace file and the stack name the code location alike, or runs could not be found."""

from pathlib import Path

import yaml

from lalafo_assets.stack.supervisor import LOCATION, ROOT, running_stack


def test_both_ways_of_loading_name_one_location() -> None:
    """A run launched by `dagster` is found by the daemon of `lalafo up`."""
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["location_name"] == LOCATION


def test_no_stack_is_told_where_none_runs(tmp_path: Path) -> None:
    """A file that a killed stack left behind is not believed."""
    assert running_stack(tmp_path) is None
    (tmp_path / "stack.json").write_text('{"pid": 4194400, "ui_url": "", "exports": {}}')
    assert running_stack(tmp_path) is None
