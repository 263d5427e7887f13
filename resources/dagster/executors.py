"""Chooses where runs execute: in local processes, or in Kubernetes pods with a GPU.

One setting, LALAFO_EXECUTOR, selects the executor and the pod's spec. The run launcher belongs to
the Dagster instance (`dagster.yaml`) and must match. The pod's spec is built by pure functions, so
that a test can check it without a cluster.
"""

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from ops.errors import ConfigurationError
from resources.processes.environment import TUNING
from resources.processes.priority import become_idle
from resources.settings import load_settings

Kind = Literal["local", "k8s"]

GPU_RESOURCE = "nvidia.com/gpu"


def session_executor(kind: Kind) -> dg.ExecutorDefinition:
    """The executor of session runs: always one process, which contains the model and queues."""
    _require_known(kind)
    return dg.in_process_executor


def background_executor(kind: Kind) -> dg.ExecutorDefinition:
    """The executor of runs that no ad waits for: one process, at idle priority by default."""
    _require_known(kind)
    plain = dg.in_process_executor

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        if load_settings().background_priority == "idle":
            become_idle()
        creates = plain.executor_creation_fn
        assert creates is not None
        return creates(context)

    return dg.ExecutorDefinition(
        name=plain.name,
        config_schema=plain.config_schema.as_field(),
        executor_creation_fn=create,
        description="Executes all steps in this process, at the priority of the settings.",
    )


def rescore_executor(kind: Kind) -> dg.ExecutorDefinition:
    """The executor of re-scores: locally one process, on Kubernetes one pod per step."""
    _require_known(kind)
    if kind == "local":
        return background_executor(kind)
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise ConfigurationError(
            "LALAFO_EXECUTOR=k8s needs the package dagster-k8s: install lalafo-vision[k8s]"
        ) from error
    return k8s_job_executor


def pod_tags(kind: Kind, *, gpus: int, memory: str) -> Mapping[str, Any]:
    """The tags with the resources of a run's or step's pod; empty for local execution.

    Args:
        gpus: the container's GPU limit; 0: the pod may run on CPU nodes.
        memory: in Kubernetes' notation; both request and limit, so that the pod is not evicted.
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
        "pod_spec_config": {
            "termination_grace_period_seconds": 60,
            # Else a Service named lalafo-gateway sets LALAFO_GATEWAY_PORT=tcp://… in the pod.
            "enable_service_links": False,
        },
    }
    if gpus > 0:
        config["pod_spec_config"]["tolerations"] = [
            {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
        ]
    return {"dagster-k8s/config": config}


def _require_known(kind: str) -> None:
    if kind not in ("local", "k8s"):
        raise ConfigurationError(f"LALAFO_EXECUTOR is {kind!r}; expected local or k8s")
