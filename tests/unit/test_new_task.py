"""A new task is one file: CONTRIBUTING's in the project, docs/add-a-task.md's in a package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import copy_of_the_project
from tests.support.document_plan import ADD_A_TASK, PLAN, Run
from tests.support.documents import ROOT
from tests.support.task_package import write_package

LOOK = """
import json
import numpy as np
from lalafo_assets.definitions import defs
from ops.tasks import all_tasks, task_by_name
rng = np.random.default_rng(1)
centres = {"new": rng.normal(size=64), "used": rng.normal(size=64)}
labels = ["new", "used"] * 60
rows = np.stack([centres[label] + rng.normal(size=64, scale=0.3) for label in labels])
rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
task = task_by_name("condition")
head, _ = task.fit(rows, labels)
found = task.predict(rows, np.arange(len(rows), dtype=np.int64), len(rows), head)
graph = defs().get_repository_def().asset_graph
parents = graph.get(next(k for k in graph.get_all_asset_keys() if k.path == ["ad_conditions"]))
print(json.dumps({
    "tasks": [task.name for task in all_tasks()],
    "parents": [key.to_user_string() for key in parents.parent_keys],
    "predicted": [[it.task, it.label] for it in found],
    "labels": labels,
}))
"""

GRAPH = """
import json
from lalafo_assets.definitions import defs
graph = defs().get_repository_def().asset_graph
node = graph.get(next(k for k in graph.get_all_asset_keys() if k.path == ["ad_colours"]))
columns = node.metadata["dagster/column_schema"].columns
print(json.dumps({
    "parents": sorted(key.to_user_string() for key in node.parent_keys),
    "checks": sorted(key.name for key in graph.asset_check_keys if key.asset_key == node.key),
    "description": node.description,
    "columns": {column.name: column.description for column in columns},
}))
"""


@pytest.mark.slow
def test_one_file_is_a_task(tmp_path: Path) -> None:
    """It is discovered, has an asset below the embeddings, learns, and predicts."""
    (block,) = (step.block for step in PLAN if step.run is Run.TASK_FILE)
    project = copy_of_the_project(tmp_path / "project")
    (project / "ops" / "tasks" / "condition.py").write_text(block.text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LALAFO_")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {"category", "condition"} <= set(seen["tasks"])
    assert "photo_embeddings" in seen["parents"]
    right = [["condition", label] for label in seen["labels"]]
    assert seen["predicted"] == right


@pytest.mark.slow
def test_an_installed_package_is_an_asset(tmp_path: Path) -> None:
    """The file of docs/add-a-task.md: its asset, its check, and its answer's fields as columns."""
    (block,) = (
        step.block
        for step in PLAN
        if step.document == ADD_A_TASK and step.starts.startswith('"""The task')
    )
    write_package(tmp_path, "ad-colours", {"ad_colours": block.text}, "colours = ad_colours")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LALAFO_")}
    done = subprocess.run(
        [sys.executable, "-c", GRAPH],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["parents"] == ["model_release", "photo_embeddings"]
    assert seen["checks"] == ["no_label_above_its_usual_share"]
    assert seen["description"].startswith("The dominant colours of each ad's photos.")
    assert seen["columns"]["details.brightness"].endswith("Unit: of 255.")
    assert "details.top" in seen["columns"]
