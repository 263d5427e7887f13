"""`K8sRunLauncher`, whose health checks end no run that works.

Imported where runs are Jobs: it needs the extra `k8s`.
"""

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher

OWN_POD_TAG = "lalafo/own-pod"
"""On a run that a Deployment's pod executes itself, without a Job: `dagster job execute --tags`."""

_GONE = "could not be found"  # in dagster-k8s' message, where the API answers that there is no Job


class JobLauncher(K8sRunLauncher):
    """Creates a Job for each run."""

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Run monitoring fails every run that is not healthy here.

        While Kubernetes' API does not answer, nothing is known of a run's pod: dagster-k8s says so,
        and run monitoring would fail all runs, sessions too, which then end. A run without a Job is
        watched by its lease alone.
        """
        if OWN_POD_TAG in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it has no Job")
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN and _GONE not in (found.msg or ""):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Kubernetes' API does not answer")
        return found
