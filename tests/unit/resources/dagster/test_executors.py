"""Executors: dagster-k8s can read the pod's spec, and unknown names are refused."""

import json

import dagster as dg
import pytest

from lalafo_assets.definitions import defs
from lalafo_assets.session.job import session_job
from ops.errors import ConfigurationError
from resources.dagster.executors import (
    background_executor,
    pod_tags,
    rescore_executor,
    session_executor,
)
from resources.dagster.names import SESSION_JOB
from resources.dagster.partitions import days
from resources.processes.environment import TUNING


def test_locally_there_are_no_pods() -> None:
    """No tags, and one process."""
    assert pod_tags("local", gpus=1, memory="4Gi") == {}
    assert session_executor("local") is dg.in_process_executor
    assert rescore_executor("local").name == dg.in_process_executor.name


def test_a_pod_requests_what_the_run_needs() -> None:
    """dagster-k8s reads the GPU, equal memory request and limit, and the toleration."""
    reader = pytest.importorskip("dagster_k8s.job", reason="needs the extra `k8s`")
    config = reader.get_user_defined_k8s_config(session_job("k8s", days).tags)
    limits = config.container_config["resources"]["limits"]
    assert limits == {"memory": "4Gi", "nvidia.com/gpu": "1"}
    assert config.container_config["resources"]["requests"]["memory"] == "4Gi"
    assert config.pod_spec_config["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert config.pod_spec_config["enable_service_links"] is False
    environment = {item["name"]: item["value"] for item in config.container_config["env"]}
    assert environment == TUNING, "without it a session is a third slower"


@pytest.mark.parametrize(("device", "gpus"), [("cpu", None), ("cuda", "1"), ("auto", "1")])
def test_the_device_determines_whether_a_pod_requests_a_gpu(
    device: str, gpus: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LALAFO_DEVICE=cpu sessions and re-scores run on nodes without a GPU."""
    pytest.importorskip("dagster_k8s.job", reason="needs the extra `k8s`")
    monkeypatch.setenv("LALAFO_EXECUTOR", "k8s")
    monkeypatch.setenv("LALAFO_DEVICE", device)
    repository = defs().get_repository_def()
    for name in (SESSION_JOB, "rescore_days"):
        config = json.loads(repository.get_job(name).tags["dagster-k8s/config"])
        limits = config["container_config"]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == gpus, name


def test_without_a_gpu_the_pod_runs_on_any_node() -> None:
    """No GPU limit, no toleration."""
    config = pod_tags("k8s", gpus=0, memory="1Gi")["dagster-k8s/config"]
    assert "nvidia.com/gpu" not in config["container_config"]["resources"]["limits"]
    assert "tolerations" not in config["pod_spec_config"]


def test_an_unknown_executor_is_refused() -> None:
    """A typo must not become a local run."""
    for call in (session_executor, background_executor, rescore_executor):
        with pytest.raises(ConfigurationError, match="LALAFO_EXECUTOR"):
            call("kubernetes")  # type: ignore[arg-type]
