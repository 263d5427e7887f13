"""Executors: which runs have a process, and which steps have pods; unknown names are refused."""

import json

import dagster as dg
import pytest

from lalafo_assets.definitions import defs
from ops.errors import ConfigurationError
from resources.dagster.executors import Execution, background_executor, step_executor
from resources.dagster.names import SESSION_JOB
from resources.dagster.pods.spec import ROLE_LABEL

ROLES = {
    SESSION_JOB: "session",
    "index_vectors": "indexer",
    "find_duplicates": "finder",
    "rescore_days": "coordinator",
    "train_release": "coordinator",
    "compare_releases": "maintenance",
    "export_days": "maintenance",
    "rescore_stale": "maintenance",
    "upkeep": "maintenance",
}


def test_locally_there_are_no_pods() -> None:
    """No tags, and one process."""
    assert Execution().tags("session") == {}
    assert step_executor(Execution(), "batch").name == dg.in_process_executor.name


def test_on_kubernetes_long_steps_have_pods() -> None:
    pytest.importorskip("dagster_k8s", reason="needs the extra `k8s`")
    assert step_executor(Execution("k8s"), "batch").name == "k8s"
    assert background_executor().name == dg.in_process_executor.name


def test_every_job_has_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is added without one would get a batch's pod, with a GPU."""
    pytest.importorskip("dagster_k8s", reason="needs the extra `k8s`")
    monkeypatch.setenv("LALAFO_EXECUTOR", "k8s")
    repository = defs().get_repository_def()
    named = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    found = {}
    for job in named:
        config = json.loads(job.tags["dagster-k8s/config"])
        found[job.name] = config["pod_template_spec_metadata"]["labels"][ROLE_LABEL]
    assert found == ROLES


def test_an_unknown_executor_is_refused() -> None:
    """A typo must not become a local run."""
    with pytest.raises(ConfigurationError, match="LALAFO_EXECUTOR"):
        Execution("kubernetes")  # type: ignore[arg-type]
