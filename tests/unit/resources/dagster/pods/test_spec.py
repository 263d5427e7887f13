"""The pods' specs by the settings, and the setting's own faults."""

import json
from typing import Any, get_args

import pytest

from ops.errors import ConfigurationError
from resources.dagster.pods.spec import (
    FETCHERS,
    GPU_RESOURCE,
    INTERNET_LABEL,
    STAYS,
    role_config,
)
from resources.pod_settings import PodOptions, PodRole, Pods
from resources.processes.environment import TUNING
from resources.settings import load_settings

ROLES: tuple[PodRole, ...] = get_args(PodRole)
EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def resources_of(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["container_config"]["resources"]
    return found


def variables_of(config: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in config["container_config"]["env"]}


@pytest.mark.parametrize(("device", "gpus"), [("cpu", None), ("cuda", "1"), ("auto", "1")])
@pytest.mark.parametrize("role", ["session", "batch", "training"])
def test_the_device_determines_whether_a_pod_requests_a_gpu(
    role: PodRole, device: Any, gpus: str | None
) -> None:
    """Without one the pod runs on any node; with one it tolerates the taint of GPU nodes."""
    config = role_config(Pods(), role, device)
    assert resources_of(config)["limits"].get(GPU_RESOURCE) == gpus
    assert resources_of(config)["requests"].get(GPU_RESOURCE) == gpus
    keys = [it["key"] for it in config["pod_spec_config"]["tolerations"]]
    assert keys == ([] if gpus is None else [GPU_RESOURCE])


@pytest.mark.parametrize("role", ["indexer", "finder", "maintenance", "coordinator"])
def test_work_without_a_model_requests_no_gpu(role: PodRole) -> None:
    assert GPU_RESOURCE not in str(role_config(Pods(), role, "cuda"))


@pytest.mark.parametrize("role", ROLES)
def test_every_option_reaches_the_pods_of_its_role_alone(role: PodRole) -> None:
    tolerated = {"key": "pool", "operator": "Equal", "value": "ads", "effect": "NoSchedule"}
    spread = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    options = {
        "cpu": "3",
        "memory": "5Gi",
        "gpus": 2,
        "image": "registry.example.org/worker:7-cuda",
        "stop_s": 75,
        "priority_class_name": "ads-first",
        "node_selector": {"pool": "ads"},
        "tolerations": [tolerated],
        "affinity": spread,
        "annotations": {"example.org/team": "vision"},
    }
    others = Pods(image="registry.example.org/worker:7")
    pods = Pods.from_json(json.dumps({"image": others.image, role: options}))
    config = role_config(pods, role, "cuda")
    container, pod = config["container_config"], config["pod_spec_config"]
    limits = {"memory": "5Gi", GPU_RESOURCE: "2"}
    assert container["resources"] == {"limits": limits, "requests": {**limits, "cpu": "3"}}
    assert container["image"] == "registry.example.org/worker:7-cuda"
    assert pod["termination_grace_period_seconds"] == 75
    assert pod["priority_class_name"] == "ads-first"
    assert pod["node_selector"] == {"pool": "ads"}
    assert pod["tolerations"][-1] == tolerated and len(pod["tolerations"]) == 2
    assert pod["affinity"] == spread
    assert config["pod_template_spec_metadata"]["annotations"]["example.org/team"] == "vision"
    for other in set(ROLES) - {role}:
        assert role_config(pods, other, "cuda") == role_config(others, other, "cuda")


def test_memory_is_requested_whole_and_processors_are_not_limited() -> None:
    """A pod that may use more memory than it requests is evicted first."""
    for role in ROLES:
        resources = resources_of(role_config(Pods(), role, "cuda"))
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" in resources["requests"] and "cpu" not in resources["limits"]


def test_one_option_leaves_the_role_s_other_defaults() -> None:
    pods = Pods.from_json('{"session": {"cpu": "6"}}')
    assert (pods.session.cpu, pods.session.memory, pods.session.gpus) == ("6", "4Gi", 1)


def test_long_lived_workers_stay_on_their_node() -> None:
    """An autoscaler that wants their node back waits until they have handed over."""
    for role in ROLES:
        annotations = role_config(Pods(), role, "cpu")["pod_template_spec_metadata"]["annotations"]
        assert (annotations.get(EVICT) == "false") is (role in STAYS)


def test_only_pods_that_fetch_photos_are_allowed_to_the_internet() -> None:
    for role in ROLES:
        labels = role_config(Pods(), role, "cpu")["pod_template_spec_metadata"]["labels"]
        assert (labels.get(INTERNET_LABEL) == "allowed") is (role in FETCHERS)


def test_only_coordinators_get_a_token() -> None:
    for role in ROLES:
        pod = role_config(Pods(), role, "cpu")["pod_spec_config"]
        assert pod["automount_service_account_token"] is (role == "coordinator")


def test_all_pods_compute_as_fast_as_local_processes() -> None:
    """Without these variables a session is a third slower."""
    for role in ROLES:
        assert TUNING.items() <= variables_of(role_config(Pods(), role, "cpu")).items()


def test_a_pod_without_a_gpu_computes_on_its_cpu() -> None:
    """The indexer embeds photos; a coordinator passes the setting on to its steps."""
    for role in ROLES:
        config = role_config(Pods(), role, "cuda")
        has_gpu = GPU_RESOURCE in resources_of(config)["limits"]
        expected = None if has_gpu or role == "coordinator" else "cpu"
        assert variables_of(config).get("LALAFO_DEVICE") == expected, role


def test_a_job_s_tag_is_small() -> None:
    """Dagster indexes a run's tags; PostgreSQL's index refuses an entry of 2,700 bytes."""
    for role in ROLES:
        assert len(json.dumps(role_config(Pods(), role, "cuda"))) < 2_000


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('{"session": {"memory": "4 GB"}}', "session.memory"),
        ('{"session": {"replicas": 2}}', "session.replicas"),
        ('{"gpu": {}}', "gpu"),
        ('{"batch": {"gpus": -1}}', "batch.gpus"),
        ('{"batch": {"image": "worker:7-cuda"}}', "image: needed"),
        ("session: {}", "JSON"),
    ],
)
def test_a_wrong_value_is_named(value: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LALAFO_PODS", value)
    with pytest.raises(ConfigurationError, match="LALAFO_PODS") as error:
        load_settings()
    assert found in str(error.value)


def test_the_setting_is_shown_as_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lalafo settings` prints it; what it prints can be set again."""
    assert str(Pods()) == ""
    changed = Pods(namespace="ads", finder=PodOptions(memory="3Gi"))
    monkeypatch.setenv("LALAFO_PODS", str(changed))
    assert load_settings().pods == changed
