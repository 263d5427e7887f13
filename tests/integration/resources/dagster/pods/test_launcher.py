"""The run launcher of `dagster.yaml` by the environment, and a run's process as its pod has it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli.api import ExecuteRunArgs
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import create_execution_plan
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)

from resources.dagster.pods.spec import base_config, role_config
from resources.pod_settings import Pods
from resources.postgres.conninfo import Conninfo

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[5]
CODE = """
import dagster as dg

@dg.op
def write(context):
    context.log.info("written")

@dg.job(executor_def=dg.in_process_executor)
def small():
    write()

defs = dg.Definitions(jobs=[small])
"""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """Of the project's own `dagster.yaml`."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return dg.DagsterInstance.from_config(str(home))


def test_on_one_machine_the_code_server_runs_them(instance: dg.DagsterInstance) -> None:
    with instance:
        assert isinstance(instance.run_launcher, dg.DefaultRunLauncher)


def test_on_kubernetes_dagster_needs_a_pod(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here is none: the launcher is dagster-k8s', which looks for its token."""
    kubernetes = pytest.importorskip("kubernetes", reason="needs the extra `k8s`")
    monkeypatch.setenv("LALAFO_EXECUTOR", "k8s")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with instance, pytest.raises(kubernetes.config.ConfigException):
        _ = instance.run_launcher


def small_run(instance: dg.DagsterInstance, folder: Path) -> tuple[dg.DagsterRun, list[str]]:
    """A run, and the command of its Job."""
    code = folder / "small.py"
    code.write_text(CODE)
    pointer = FileCodePointer(str(code), "defs")
    job = ReconstructableRepository(pointer).get_reconstructable_job("small").get_definition()
    origin = JobPythonOrigin(
        "small",
        RepositoryPythonOrigin("python", pointer, entry_point=DEFAULT_DAGSTER_ENTRY_POINT),
    )
    run = instance.create_run_for_job(
        job, execution_plan=create_execution_plan(job), job_code_origin=origin
    )
    command = ExecuteRunArgs(origin, run.run_id, instance.get_ref()).get_command_args()
    assert command[0] == "dagster"
    return run, [sys.executable, "-m", *command]


def execute(command: list[str], executor: str) -> str:
    """Run a Job's command to its end; return what it printed."""
    variables = {**os.environ, "LALAFO_EXECUTOR": executor, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_a_run_s_own_process_needs_no_token(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Without a cluster it runs to its end: only coordinators reach the API server."""
    with instance:
        run, command = small_run(instance, tmp_path)
        printed = execute(command, "k8s")
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None and ended.status is dg.DagsterRunStatus.SUCCESS, printed
        assert "written" in printed


def test_a_pod_that_starts_after_its_run_has_failed_does_nothing(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """dagster-io/dagster#16535: it waited for a node for longer than run monitoring does."""
    with instance:
        run, command = small_run(instance, tmp_path)
        instance.report_run_failed(run, message="its pod did not start")
        printed = execute(command, "k8s")
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE
        assert "written" not in printed
        assert any("already finished" in entry.message for entry in instance.all_logs(run.run_id))


def test_postgresql_indexes_a_run_with_the_tag_of_its_pod(
    postgres: object, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag of more than 2,704 bytes, compressed, would be refused and no run could be created."""
    from lalafo_assets.stack.environment import DAGSTER_STORAGE

    monkeypatch.setenv("LALAFO_DAGSTER_DATABASE_URL", Conninfo.parse(database_url).text())
    (tmp_path / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{DAGSTER_STORAGE}")

    @dg.job
    def empty() -> None: ...

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for config in (role_config(Pods(), "session", "cuda"), base_config(Pods(), "cuda")):
            tags = {"dagster-k8s/config": json.dumps(config)}
            run = instance.create_run_for_job(empty, tags=tags)
            (found,) = instance.get_runs(dg.RunsFilter(run_ids=[run.run_id]))
            assert json.loads(found.tags["dagster-k8s/config"]) == config
