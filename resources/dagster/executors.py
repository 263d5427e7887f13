"""Chooses where runs execute: in local processes, or in Kubernetes pods with a GPU.

LALAFO_EXECUTOR selects the executor, the pods (`pods/spec.py`) and the run launcher of the Dagster
instance (`pods/launcher.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import dagster as dg

from ops.errors import ConfigurationError
from resources.dagster.pods.launcher import MISSING
from resources.dagster.pods.spec import role_config
from resources.pod_settings import PodRole, Pods
from resources.processes.priority import become_follower, become_idle
from resources.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Execution:
    """Where runs execute, by the settings.

    Raises ConfigurationError if `kind` is unknown: a typo must not become a local run.
    """

    kind: Literal["local", "k8s"] = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pods: Pods = field(default_factory=Pods)

    def __post_init__(self) -> None:
        if self.kind not in ("local", "k8s"):
            raise ConfigurationError(f"LALAFO_EXECUTOR is {self.kind!r}; expected local or k8s")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return what LALAFO_EXECUTOR, LALAFO_DEVICE and LALAFO_PODS say."""
        return cls(settings.executor, settings.device, settings.pods)

    def tags(self, role: PodRole) -> dict[str, Any]:
        """The tags of a job with its runs' pods; empty for local execution."""
        if self.kind == "local":
            return {}
        return {"dagster-k8s/config": role_config(self.pods, role, self.device)}


def session_executor() -> dg.ExecutorDefinition:
    """The executor of session runs: always one process, which contains the model and queues."""
    return dg.in_process_executor


def background_executor() -> dg.ExecutorDefinition:
    """The executor of runs that no ad waits for: one process, at idle priority by default."""
    return _yielding_executor(become_idle)


def follower_executor() -> dg.ExecutorDefinition:
    """The executor of runs that follow commits within a second: one process, at low priority."""
    return _yielding_executor(become_follower)


def _yielding_executor(lower: Callable[[], None]) -> dg.ExecutorDefinition:
    plain = dg.in_process_executor

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        if load_settings().background_priority == "idle":
            lower()
        creates = plain.executor_creation_fn
        assert creates is not None
        return creates(context)

    return dg.ExecutorDefinition(
        name=plain.name,
        config_schema=plain.config_schema.as_field(),
        executor_creation_fn=create,
        description="Executes all steps in this process, at the priority of the settings.",
    )


def step_executor(execution: Execution, role: PodRole) -> dg.ExecutorDefinition:
    """The executor of long steps: locally one process, on Kubernetes one pod per step.

    A step of a backfill has a chunk of days (`partitions.DAYS_A_RUN`), so a pod has one too. A
    job's tags do not reach the pods of its steps: dagster-k8s gives those to the run's pod only.
    """
    if execution.kind == "local":
        return background_executor()
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise ConfigurationError(MISSING) from error
    return k8s_job_executor.configured(
        {
            "step_k8s_config": role_config(execution.pods, role, execution.device),
            "max_concurrent": execution.pods.steps_at_once,
        }
    )
