"""The pods of runs and steps on Kubernetes, as dagster-k8s reads them: pure functions.

`base_config` is what all pods share, for the run launcher. `role_config` is what one kind of pods
has of its own, for the tag `dagster-k8s/config` of a job and for steps: small, because Dagster
stores a run's tags with each run, and indexes them. Does not depend on Dagster or on a cluster.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ ("restricted")
"""

from typing import Any, Literal

from resources.pod_settings import PodOptions, PodRole, Pods
from resources.processes.environment import TUNING

GPU_RESOURCE = "nvidia.com/gpu"

ROLE_LABEL = "lalafo/pod"
"""On each pod of a run: its role. Network policies and disruption budgets select by it."""

INTERNET_LABEL = "lalafo/internet"
"""`allowed` on the pods that fetch photos from sellers' hosts; the network policy reads it."""

API_SERVER_LABEL = "lalafo/api-server"
"""`allowed` on the pods that create Jobs, which have a token too."""

PART_OF = {"app.kubernetes.io/part-of": "lalafo-vision"}

FETCHERS: frozenset[PodRole] = frozenset({"session", "indexer", "batch"})
"""The indexer fetches the photos that searches name, a batch those that could not be fetched."""

CREATES_JOBS: frozenset[PodRole] = frozenset({"coordinator"})
"""Runs whose steps have pods of their own."""

STAYS: frozenset[PodRole] = frozenset({"session", "indexer", "finder"})
"""They hand over to a successor in their own time: an autoscaler must not remove their node."""

SERVES: frozenset[PodRole] = frozenset({"session"})
"""They serve Prometheus' metrics."""

METRICS_PORT = 9400
METRICS = {"name": "metrics", "container_port": METRICS_PORT}

DAGSTER_HOME = "/opt/lalafo/dagster"
HOME = "/var/lib/lalafo"
FILES = "/etc/lalafo"

WRITABLE = {
    "home": HOME,  # LALAFO_HOME, and HOME for the caches of libraries
    "tmp": "/tmp",  # noqa: S108 - a folder of the pod's own
    "dagster-storage": f"{DAGSTER_HOME}/storage",  # captured output, and outputs of steps
    "shm": "/dev/shm",  # noqa: S108 - shared memory of worker processes; 64 MB by default
}
"""The paths that can be written, by volume; all else is read-only."""

SECURITY = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY: dict[str, Any] = {
    "run_as_non_root": True,  # with any user id: OpenShift chooses one for each namespace
    "seccomp_profile": {"type": "RuntimeDefault"},
}


def base_config(pods: Pods, device: Literal["auto", "cpu", "cuda"]) -> dict[str, Any]:
    """What the run launcher gives every pod; its own kind is `batch`, for runs without a role.

    Args:
        device: LALAFO_DEVICE.
    """
    config = role_config(pods, "batch", device)
    config.pop("merge_behavior")
    fs_group = {} if pods.fs_group is None else {"fs_group": pods.fs_group}
    config["container_config"] |= {
        "env_from": [
            *({"config_map_ref": {"name": name}} for name in pods.config_maps),
            *({"secret_ref": {"name": name}} for name in pods.secrets),
        ],
        "security_context": SECURITY,
        "volume_mounts": [
            *({"name": name, "mount_path": path} for name, path in WRITABLE.items()),
            *_files(pods, {"mount_path": FILES, "read_only": True}),
        ],
    }
    config["pod_spec_config"] |= {
        "security_context": POD_SECURITY | fs_group,
        # Else a Service named lalafo-gateway sets LALAFO_GATEWAY_PORT=tcp://… in the pod.
        "enable_service_links": False,
        "image_pull_secrets": [{"name": name} for name in pods.image_pull_secrets],
        "volumes": [
            {"name": "home", **_home(pods)},
            {"name": "tmp", "empty_dir": {}},
            {"name": "dagster-storage", "empty_dir": {}},
            {"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": pods.shm_size}},
            *_files(pods, {"secret": {"secret_name": pods.files_secret}}),
        ],
    }
    config["job_spec_config"] = {
        # A pod that failed is not started again: Dagster and the sensors do that, as new runs.
        "backoff_limit": 0,
        "ttl_seconds_after_finished": pods.keep_finished_s,
    }
    return config


def role_config(
    pods: Pods, role: PodRole, device: Literal["auto", "cpu", "cuda"]
) -> dict[str, Any]:
    """What pods of one role have of their own; each key replaces the launcher's.

    Every key is there, also where it is empty: else a pod would keep the value of a batch's.
    """
    options = pods.options(role)
    image = options.image if options.image != "" else pods.image
    gpus = 0 if device == "cpu" else options.gpus
    variables = environment()
    if gpus == 0 and device != "cpu" and role != "coordinator":  # its steps may have GPUs
        variables["LALAFO_DEVICE"] = "cpu"
    labels = {**PART_OF, ROLE_LABEL: role}
    if role in FETCHERS:
        labels[INTERNET_LABEL] = "allowed"
    if role in CREATES_JOBS:
        labels[API_SERVER_LABEL] = "allowed"
    evicted = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"} if role in STAYS else {}
    return {
        # Dagster's other way appends lists and keeps keys: a pod would get a batch's GPU.
        "merge_behavior": "SHALLOW",
        "container_config": {
            "resources": _resources(options, gpus),
            "env": [{"name": name, "value": value} for name, value in variables.items()],
            "ports": [{"name": "metrics", "container_port": METRICS_PORT}]
            if role in SERVES
            else [],
            **({"image": image} if image != "" else {}),
        },
        "pod_spec_config": {
            "termination_grace_period_seconds": options.stop_s,
            "automount_service_account_token": role in CREATES_JOBS,
            "priority_class_name": options.priority_class_name,
            "node_selector": dict(options.node_selector),
            "tolerations": _tolerations(options, gpus),
            "affinity": dict(options.affinity),
        },
        "pod_template_spec_metadata": {
            "labels": labels,
            "annotations": {**evicted, **options.annotations},
        },
        "job_metadata": {"labels": labels},
    }


def environment() -> dict[str, str]:
    """The variables of all pods, besides those of their ConfigMaps and Secrets."""
    return {
        **TUNING,
        "LALAFO_HOME": HOME,
        "LALAFO_METRICS_HOST": "0.0.0.0",  # noqa: S104 - the network policy says who reaches it
        "LALAFO_METRICS_PORT": str(METRICS_PORT),
        "HOME": HOME,
        # The user id has no name in the image; getpass and libpq ask for one.
        "USER": "lalafo",
        "LOGNAME": "lalafo",
    }


def _resources(options: PodOptions, gpus: int) -> dict[str, Any]:
    limits = {"memory": options.memory}
    if gpus > 0:
        limits[GPU_RESOURCE] = str(gpus)
    return {"limits": limits, "requests": {**limits, "cpu": options.cpu}}


def _tolerations(options: PodOptions, gpus: int) -> list[dict[str, Any]]:
    on_gpu = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
    return [*([on_gpu] if gpus > 0 else []), *(dict(it) for it in options.tolerations)]


def _home(pods: Pods) -> dict[str, Any]:
    if pods.home_claim != "":
        return {"persistent_volume_claim": {"claim_name": pods.home_claim}}
    return {"empty_dir": {"size_limit": pods.home_size}}


def _files(pods: Pods, content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "files", **content}] if pods.files_secret != "" else []
