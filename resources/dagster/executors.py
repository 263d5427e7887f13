"""Where runs execute: in this machine's processes, or in Kubernetes pods with a GPU.

Decides executor and pod by one setting, LALAFO_EXECUTOR. The run launcher is the instance's
(`dagster.yaml`); `deploy/` pairs the two. The pod's spec is built purely, so that a test can read
it without a cluster.
"""

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from ops.errors import ConfigurationError
from resources.processes.environment import TUNING

Kind = Literal["local", "k8s"]

GPU_RESOURCE = "nvidia.com/gpu"


def session_executor(kind: Kind) -> dg.ExecutorDefinition:
    """A session is one process wherever it runs: its model and its queues live in it."""
    _require_known(kind)
    return dg.in_process_executor


def rescore_executor(kind: Kind) -> dg.ExecutorDefinition:
    """A re-score's steps share one process locally, and get a pod each on Kubernetes."""
    _require_known(kind)
    if kind == "local":
        return dg.in_process_executor
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise ConfigurationError(
            "LALAFO_EXECUTOR=k8s needs dagster-k8s: install lalafo-vision[k8s]"
        ) from error
    return k8s_job_executor


def pod_tags(kind: Kind, *, gpus: int, memory: str) -> Mapping[str, Any]:
    """The tags that size a run's or a step's pod; none where there are no pods.

    Args:
        gpus: how many the container asks for; 0 leaves the pod on CPU nodes.
        memory: Kubernetes' notation, request and limit alike, so that it is not evicted.
    """
    _require_known(kind)
    if kind == "local":
        return {}
    limits: dict[str, str] = {"memory": memory}
    environment = [{"name": name, "value": value} for name, value in TUNING.items()]
    if gpus > 0:
        limits[GPU_RESOURCE] = str(gpus)
    config: dict[str, Any] = {
        "container_config": {
            "resources": {"limits": limits, "requests": {"memory": memory, "cpu": "1"}},
            "env": environment,
        },
        "pod_spec_config": {"termination_grace_period_seconds": 60},
    }
    if gpus > 0:
        config["pod_spec_config"]["tolerations"] = [
            {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
        ]
    return {"dagster-k8s/config": config}


def _require_known(kind: str) -> None:
    if kind not in ("local", "k8s"):
        raise ConfigurationError(f"LALAFO_EXECUTOR is {kind!r}; expected local or k8s")
