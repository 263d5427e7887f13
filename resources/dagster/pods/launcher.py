"""The run launcher of `dagster.yaml`, by the environment: LALAFO_EXECUTOR chooses it.

One file configures a Dagster instance on one machine and on Kubernetes. Owns the configuration of
`K8sRunLauncher`; `spec.py` has the pods.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from ops.errors import ConfigurationError
from resources.dagster.pods.spec import DAGSTER_HOME, base_config
from resources.settings import Settings, load_settings

MISSING = "LALAFO_EXECUTOR=k8s needs the package dagster-k8s: install lalafo-vision[k8s]"


class RunLauncherByExecutor(RunLauncher, ConfigurableClass):
    """Dagster's entry point: `from_config_value` returns the launcher that the settings name."""

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Part of the interface; this class has no instances."""
        return None

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options in `dagster.yaml`: all of them are settings."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override] # Dagster takes any launcher
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> RunLauncher:
        """Create the launcher; called by Dagster.

        Raises:
            ConfigurationError: dagster-k8s is not installed, or a setting is invalid.
        """
        settings = load_settings()
        if settings.executor == "local":
            return dg.DefaultRunLauncher(inst_data=inst_data)
        try:
            from resources.dagster.pods.job_launcher import JobLauncher
        except ImportError as error:
            raise ConfigurationError(MISSING) from error
        config = launcher_config(settings)
        launcher: RunLauncher = JobLauncher.from_config_value(inst_data, config)  # type: ignore[no-untyped-call] # dagster-k8s'
        return launcher


def launcher_config(settings: Settings) -> dict[str, Any]:
    """The configuration of `K8sRunLauncher`."""
    pods = settings.pods
    return {
        "job_namespace": pods.namespace,
        "service_account_name": pods.service_account,
        "image_pull_policy": pods.image_pull_policy,
        "dagster_home": DAGSTER_HOME,
        # A required name of dagster-k8s which nothing reads: the run's arguments have the instance.
        "instance_config_map": "unused",
        "fail_pod_on_run_failure": True,
        "run_k8s_config": base_config(pods, settings.device),
    }
