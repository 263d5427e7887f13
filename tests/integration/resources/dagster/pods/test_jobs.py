"""Every Job that Dagster would create: real launcher and executor, up to Kubernetes' API.

The launcher is that of `dagster.yaml`; the requests are read from the wire and validated against
Kubernetes' schemas. No Job runs.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.context_creation_job import (
    PlanOrchestrationContextManager,
    orchestration_context_event_generator,
)
from dagster._core.executor.step_delegating.step_handler.base import StepHandlerContext
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._grpc.types import ExecuteStepArgs

from lalafo_assets.definitions import defs
from resources.dagster.names import SESSION_JOB
from resources.dagster.pods.job_launcher import OWN_POD_TAG
from resources.dagster.pods.spec import FILES, INTERNET_LABEL, ROLE_LABEL, WRITABLE
from tests.support.kubernetes_api import RecordedApi, recorded_api
from tests.support.manifests import check_schema, faults_of, writable_paths

pytestmark = pytest.mark.slow
pytest.importorskip("dagster_k8s", reason="needs the extra `k8s`")

ROOT = Path(__file__).parents[5]
IMAGE = "registry.example.org/lalafo/worker:1"
CUDA = "registry.example.org/lalafo/worker:1-cuda"
PODS = {
    "namespace": "ads",
    "image": IMAGE,
    "secrets": ["lalafo-servers"],
    "config_maps": ["lalafo-settings"],
    "files_secret": "lalafo-files",
    "session": {"image": CUDA, "priority_class_name": "ads-first", "node_selector": {"gpu": "a"}},
    "batch": {"image": CUDA, "priority_class_name": "batch"},
    "training": {"image": CUDA},
}
CODE = ModuleCodePointer("lalafo_assets.definitions", "defs", str(ROOT))
DAY = {"dagster/partition": "2026-11-01"}


class Launched:
    """The Jobs of one run of each job, and of one step of each job whose steps have pods."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, dict[str, Any]] = {}

    @property
    def all(self) -> dict[str, dict[str, Any]]:
        return self.runs | {f"a step of {name}": job for name, job in self.steps.items()}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    found = Launched()
    home = tmp_path_factory.mktemp("dagster-home")
    shutil.copy(ROOT / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch, recorded_api() as api:
        patch.setenv("LALAFO_EXECUTOR", "k8s")
        patch.setenv("LALAFO_DEVICE", "cuda")
        patch.setenv("LALAFO_PODS", json.dumps(PODS))
        patch.setenv("DAGSTER_HOME", str(home))
        # The limit of what can be tested outside a pod: its token and the cluster's address.
        patch.setattr("kubernetes.config.load_incluster_config", api.configure)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            repository = defs().get_repository_def()
            for job in repository.get_all_jobs():
                found.runs[job.name] = run_job(instance, api, job)
                if job.executor_def.name == "k8s":
                    found.steps[job.name] = step_job(instance, api, job)
    yield found


def origin_of(job: dg.JobDefinition) -> JobPythonOrigin:
    return JobPythonOrigin(
        job.name,
        RepositoryPythonOrigin(
            executable_path=sys.executable,
            code_pointer=CODE,
            container_image=IMAGE,
            entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
        ),
    )


def create_run(instance: dg.DagsterInstance, job: dg.JobDefinition) -> dg.DagsterRun:
    return instance.create_run_for_job(
        job, tags={**job.tags, **DAY}, job_code_origin=origin_of(job)
    )


def run_job(
    instance: dg.DagsterInstance, api: RecordedApi, job: dg.JobDefinition
) -> dict[str, Any]:
    run = create_run(instance, job)
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return api.jobs()[-1]


def step_job(
    instance: dg.DagsterInstance, api: RecordedApi, job: dg.JobDefinition
) -> dict[str, Any]:
    run = create_run(instance, job)
    plan = create_execution_plan(job, tags=DAY)
    manager = PlanOrchestrationContextManager(
        context_event_generator=orchestration_context_event_generator,
        job=ReconstructableRepository(CODE).get_reconstructable_job(job.name),
        execution_plan=plan,
        run_config={},
        dagster_run=run,
        instance=instance,
        raise_on_error=True,
        output_capture=None,
        resume_from_failure=False,
    )
    list(manager.prepare_context())
    context = manager.get_context()
    step = plan.steps[0]
    arguments = ExecuteStepArgs(
        job_origin=origin_of(job),
        run_id=run.run_id,
        step_keys_to_execute=[step.key],
        instance_ref=instance.get_ref(),
        retry_mode=context.executor.retries,
    )
    handler = context.executor._step_handler
    list(handler.launch_step(StepHandlerContext(instance, context, plan.steps, arguments, run)))
    return api.jobs()[-1]


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]
    return pod


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(job)["spec"]["containers"]
    return dict(container)


def test_every_job_is_valid_and_follows_the_rules(launched: Launched) -> None:
    assert len(launched.runs) > 8 and set(launched.steps) == {"rescore_days", "train_release"}
    for name, job in launched.all.items():
        check_schema(job)
        assert list(faults_of(pod_of(job))) == [], name
        assert job["metadata"].get("namespace") in (None, "ads")


def test_nothing_starts_a_pod_again_but_dagster(launched: Launched) -> None:
    """A pod that Kubernetes started again would be a second worker of a run."""
    for job in launched.all.values():
        assert job["spec"]["backoffLimit"] == 0
        assert pod_of(job)["spec"]["restartPolicy"] == "Never"
        assert job["spec"]["ttlSecondsAfterFinished"] == 86_400


def test_what_can_be_written_is_named(launched: Launched) -> None:
    for job in launched.all.values():
        assert writable_paths(pod_of(job)) == set(WRITABLE.values())
        shm = [it for it in pod_of(job)["spec"]["volumes"] if it["name"] == "shm"]
        assert shm == [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}]


def test_secrets_are_references(launched: Launched) -> None:
    """Names of Secrets and ConfigMaps only; the instance in the arguments names variables."""
    for job in launched.all.values():
        container = container_of(job)
        sources = [next(iter(it.values()))["name"] for it in container["envFrom"]]
        assert sources == ["lalafo-settings", "lalafo-servers"]
        assert all("valueFrom" not in it for it in container["env"])
        mounted = [it for it in container["volumeMounts"] if it["name"] == "files"]
        assert mounted == [{"name": "files", "mountPath": FILES, "readOnly": True}]


def test_only_runs_that_create_jobs_have_a_token(launched: Launched) -> None:
    with_token = {
        name
        for name, job in launched.all.items()
        if pod_of(job)["spec"]["automountServiceAccountToken"]
    }
    assert with_token == {"rescore_days", "train_release"}


def test_a_session_runs_on_a_gpu_and_is_not_moved(launched: Launched) -> None:
    job = launched.runs[SESSION_JOB]
    pod, container = pod_of(job), container_of(job)
    assert container["image"] == CUDA
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["spec"]["nodeSelector"] == {"gpu": "a"}
    assert pod["spec"]["priorityClassName"] == "ads-first"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 60
    annotations = pod["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    labels = pod["metadata"]["labels"]
    assert (labels[ROLE_LABEL], labels[INTERNET_LABEL]) == ("session", "allowed")


def test_steps_have_the_gpu_and_their_coordinator_has_none(launched: Launched) -> None:
    """dagster-k8s gives a job's tags to the run's pod alone, so steps have options of their own."""
    for name, step in launched.steps.items():
        run = launched.runs[name]
        assert container_of(step)["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert container_of(step)["image"] == CUDA
        assert "nvidia" not in json.dumps(run), "a GPU would be reserved for a run that waits"
        assert container_of(run)["image"] == IMAGE


def test_options_of_a_batch_do_not_reach_other_pods(launched: Launched) -> None:
    """The launcher's own options are a batch's: a run without a role, as from the UI, is one."""
    ad_hoc = next(job for name, job in launched.runs.items() if name.startswith("__"))
    assert pod_of(ad_hoc)["spec"]["priorityClassName"] == "batch"
    assert pod_of(ad_hoc)["metadata"]["labels"][ROLE_LABEL] == "batch"
    upkeep = launched.runs["upkeep"]
    assert pod_of(upkeep)["spec"]["priorityClassName"] == ""
    assert pod_of(upkeep)["spec"]["tolerations"] == []
    assert INTERNET_LABEL not in pod_of(upkeep)["metadata"]["labels"]
    assert container_of(upkeep)["image"] == IMAGE


@pytest.mark.parametrize(
    ("status", "counts", "found"),
    [
        (200, {"active": 1}, WorkerStatus.RUNNING),
        (200, {"failed": 1}, WorkerStatus.FAILED),  # evicted, or out of memory
        (404, {}, WorkerStatus.UNKNOWN),  # somebody has deleted the Job: run monitoring fails it
        (403, {}, WorkerStatus.RUNNING),  # nothing is known
        (None, {}, WorkerStatus.RUNNING),  # the API server is down
    ],
)
def test_only_what_is_known_of_a_pod_ends_its_run(
    status: int | None,
    counts: dict[str, int],
    found: WorkerStatus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run monitoring fails what is neither RUNNING nor SUCCESS; a session would then end."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("LALAFO_EXECUTOR", "k8s")

    @dg.job
    def empty() -> None: ...

    with recorded_api() as api, dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        monkeypatch.setattr("kubernetes.config.load_incluster_config", api.configure)
        run = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED)
        if status is None:
            api.address = "http://127.0.0.1:1"
        else:
            job = {"kind": "Job", "apiVersion": "batch/v1", "status": counts}
            api.answer = (status, job if status == 200 else {"kind": "Status"})
        assert instance.run_launcher.check_run_worker_health(run).status is found
        own = instance.create_run_for_job(
            empty, status=dg.DagsterRunStatus.STARTED, tags={OWN_POD_TAG: "Deployment"}
        )
        assert instance.run_launcher.check_run_worker_health(own).status is WorkerStatus.RUNNING
