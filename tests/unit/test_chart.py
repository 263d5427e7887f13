"""The Helm chart: manifests by Kubernetes' schemas, pods by rules, the network by its meaning."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import pytest
import yaml

from resources.dagster.names import SESSION_JOB
from resources.dagster.pods.job_launcher import OWN_POD_TAG
from resources.dagster.pods.spec import (
    DAGSTER_HOME,
    FILES,
    HOME,
    METRICS_PORT,
    ROLE_LABEL,
    role_config,
)
from resources.pod_settings import PodRole, Pods
from resources.settings import Settings
from resources.variables import check_variables
from tests.support.documents import ROOT
from tests.support.helm import CHART, helm, rendered
from tests.support.manifests import check_schema, containers_of, faults_of, pod_of, writable_paths
from tests.support.network_policies import Pod, connects, egress_allowed, ingress_allowed

EVERYTHING = {
    "images": {"cuda": "registry.example.org/lalafo/worker-cuda", "tag": "7", "pullSecrets": ["r"]},
    "filesSecret": "lalafo-files",
    "settings": {"LALAFO_KAFKA_BOOTSTRAP": "kafka:9092", "LALAFO_STORE_URL": "s3://ads/photos"},
    "pods": {"session": {"cpu": 4, "node_selector": {"gpu": "l4"}, "tolerations": []}},
    "lagSessions": {"enabled": True, "authentication": "kafka"},
    "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
}
STORE = {"settings": {"LALAFO_STORE_URL": "s3://ads/photos"}}
LEAST = {
    **STORE,
    "dagster": {"enabled": False},
    "gateway": {"autoscaling": {"enabled": False}},
    "migrate": {"enabled": False},
    "topics": {"enabled": False},
    "network": {"enabled": False},
}
VALUES: dict[str, Mapping[str, Any]] = {
    "the defaults": STORE,
    "everything": EVERYTHING,
    "the least": LEAST,
}


@cache
def manifests(name: str) -> list[dict[str, Any]]:
    return rendered(VALUES[name])


def one(kind: str, name: str, of: str = "everything") -> dict[str, Any]:
    (found,) = (it for it in manifests(of) if (it["kind"], it["metadata"]["name"]) == (kind, name))
    return found


def pods(of: str) -> dict[str, Mapping[str, Any]]:
    found = [(it["metadata"]["name"], pod_of(it)) for it in manifests(of)]
    return {name: pod for name, pod in found if pod is not None}


@pytest.mark.parametrize("values", VALUES)
def test_every_manifest_is_valid(values: str) -> None:
    names = [(it["kind"], it["metadata"]["name"]) for it in manifests(values)]
    assert len(names) == len(set(names)) > 5
    for manifest in manifests(values):
        check_schema(manifest)


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_follows_the_rules(values: str) -> None:
    for name, pod in pods(values).items():
        assert list(faults_of(pod)) == [], name


def test_helm_finds_no_fault() -> None:
    store = ("--set", "settings.LALAFO_STORE_URL=s3://ads/photos")
    done = helm("lint", "--strict", str(CHART), *store)
    assert done.returncode == 0, done.stdout


def test_without_a_store_nothing_is_installed() -> None:
    """A pod's own folder would lose every photo with the pod."""
    done = helm("template", "ads", str(CHART), "--kube-version", "1.34.0")
    assert done.returncode != 0 and "LALAFO_STORE_URL" in done.stderr


def test_pods_write_to_named_paths_alone() -> None:
    """Those of runs are the same, and have /dev/shm beside them."""
    allowed = {HOME, "/tmp", "/dev/shm", f"{DAGSTER_HOME}/storage"}
    for name, pod in pods("everything").items():
        assert writable_paths(pod) <= allowed, name
        mounts = {m["mountPath"] for c in containers_of(pod) for m in c["volumeMounts"]}
        assert FILES in mounts, name


def test_only_the_processes_that_create_jobs_have_a_token() -> None:
    for name, pod in pods("everything").items():
        creates = name in ("lalafo-dagster-daemon", "lalafo-dagster-webserver")
        assert pod["spec"]["automountServiceAccountToken"] is creates, name
        assert ("lalafo/api-server" in pod["metadata"]["labels"]) is creates, name


def test_secrets_are_references() -> None:
    """The chart has no manifest of a Secret, and each pod names one."""
    assert not [it for it in manifests("everything") if it["kind"] == "Secret"]
    for name, pod in pods("everything").items():
        for container in containers_of(pod):
            assert {"secretRef": {"name": "lalafo-servers"}} in container["envFrom"], name


@pytest.mark.parametrize("values", VALUES)
def test_the_settings_are_settings(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is known and valid, as the processes check it at their start."""
    settings = one("ConfigMap", "lalafo-settings", values)["data"]
    check_variables(settings, Settings.model_fields)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert read.executor == "k8s"
    assert read.pods.namespace == "ads" and read.pods.secrets == ("lalafo-servers",)
    assert (
        read.pods.service_account
        == one("ServiceAccount", "lalafo-runs", values)["metadata"]["name"]
    )
    if values == "everything":
        assert (read.device, read.code_version, read.pods.session.cpu) == ("cuda", "7", "4")
        assert read.pods.session.image.endswith("/worker-cuda:7")
        assert read.pods.maintenance.image == "" and read.pods.image.endswith("/worker:7")
        assert read.pods.image_pull_secrets == ("r",) and read.pods.files_secret == "lalafo-files"
        migrates = one("ConfigMap", "lalafo-settings-migrate")["data"]
        assert migrates == settings


def test_nothing_is_named_so_that_kubernetes_sets_a_setting() -> None:
    """A Service `lalafo-gateway` would set LALAFO_GATEWAY_PORT in pods with Service links."""
    services = [it["metadata"]["name"] for it in manifests("everything") if it["kind"] == "Service"]
    assert len(services) == 3
    for name in services:
        variable = f"{name.upper().replace('-', '_')}_PORT"
        assert variable.removeprefix("LALAFO_").lower() not in Settings.model_fields


def test_tables_come_before_everything_and_pools_fit_the_sessions() -> None:
    job = one("Job", "lalafo-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    commands = [" ".join(it["command"]) for it in containers_of(pod_of(job) or {})]
    assert commands[0] == "lalafo migrate"
    assert commands[1].endswith("gpu_stream 13"), "2 x (2 + 4) + 1: sessions by lag count too"
    usual = one("Job", "lalafo-migrate", "the defaults")
    assert containers_of(pod_of(usual) or {})[1]["command"][-1] == "5"
    for container in containers_of(pod_of(job) or {}):
        assert {"configMapRef": {"name": "lalafo-settings-migrate"}} in container["envFrom"]


def test_a_gateway_is_replaced_without_a_gap() -> None:
    deployment = one("Deployment", "lalafo-http")
    assert "replicas" not in deployment["spec"], "the autoscaler's number would be reset"
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    spec = deployment["spec"]["template"]["spec"]
    waits = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    stops = Settings.model_fields["gateway_stop_s"].default
    assert spec["terminationGracePeriodSeconds"] >= waits + stops + 5
    (container,) = spec["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert one("Deployment", "lalafo-http", "the least")["spec"]["replicas"] == 2


@pytest.mark.parametrize(("count", "available"), [(1, 1), (2, 1), (5, 4)])
def test_a_drained_node_leaves_sessions_running(count: int, available: int) -> None:
    """Pods of Jobs have no scale: a budget with a percentage or maxUnavailable would block all."""
    found = rendered({**STORE, "sessions": {"count": count}})
    (budget,) = (it["spec"] for it in found if it["metadata"]["name"] == "lalafo-sessions")
    assert budget["minAvailable"] == available and "maxUnavailable" not in budget
    labels = role_config(Pods(), "session", "cpu")["pod_template_spec_metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_sessions_by_lag_avoid_the_known_pitfalls() -> None:
    scaled = one("ScaledObject", "lalafo-lag-sessions")["spec"]
    (trigger,) = (it["metadata"] for it in scaled["triggers"])
    assert scaled["minReplicaCount"] == 1
    assert (trigger["topic"], trigger["consumerGroup"]) == ("ads", "lalafo")
    assert trigger["offsetResetPolicy"] == "earliest"
    spec = (pod_of(one("Deployment", "lalafo-lag-sessions")) or {})["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["containers"][0]["image"].endswith("worker-cuda:7")
    assert spec["nodeSelector"] == {"gpu": "l4"}
    command = spec["containers"][0]["command"]
    assert OWN_POD_TAG in json.loads(command[command.index("--tags") + 1])
    assert command[command.index("-j") + 1] == SESSION_JOB


def test_prometheus_finds_the_ports_of_pods() -> None:
    sessions = one("PodMonitor", "lalafo-sessions")["spec"]
    config = role_config(Pods(), "session", "cpu")
    labels = config["pod_template_spec_metadata"]["labels"]
    assert sessions["selector"]["matchLabels"].items() <= labels.items()
    (port,) = config["container_config"]["ports"]
    assert sessions["podMetricsEndpoints"][0]["port"] == port["name"]
    gateways = one("PodMonitor", "lalafo-http")["spec"]
    pod = pods("everything")["lalafo-http"]
    assert gateways["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {it["name"] for it in pod["spec"]["containers"][0]["ports"]}
    assert gateways["podMetricsEndpoints"][0]["port"] in ports


def test_the_chart_ships_the_alerts_and_the_dashboard_as_they_are() -> None:
    files = CHART / "files"
    rules = one("PrometheusRule", "lalafo")["spec"]
    assert rules == yaml.safe_load((files / "alerts.yaml").read_text())
    shown = json.loads(one("ConfigMap", "lalafo-dashboard")["data"]["lalafo.json"])
    assert shown == json.loads((files / "dashboard.json").read_text())


def test_dagster_s_own_chart_gets_the_project_s_configuration() -> None:
    """deploy/dagster-values.yaml repeats `dagster.yaml`; that chart is not rendered here."""
    values = yaml.safe_load((ROOT / "deploy" / "dagster-values.yaml").read_text())
    project = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    launcher = values["runLauncher"]["config"]["customRunLauncher"]
    assert {k: launcher[k] for k in ("module", "class")} == project["run_launcher"]
    daemon = values["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    runs = project["concurrency"]["runs"]
    assert queue["maxConcurrentRuns"] == runs["max_concurrent_runs"]
    assert queue["tagConcurrencyLimits"] == runs["tag_concurrency_limits"]
    monitoring, expected = daemon["runMonitoring"], project["run_monitoring"]
    assert monitoring["startTimeoutSeconds"] == expected["start_timeout_seconds"]
    assert monitoring["pollIntervalSeconds"] == expected["poll_interval_seconds"]
    assert monitoring["freeSlotsAfterRunEndSeconds"] == expected["free_slots_after_run_end_seconds"]
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert code["includeConfigInLaunchedRuns"] == {"enabled": False}
    for process in (values["dagsterWebserver"], daemon, code):
        home = {"name": "DAGSTER_HOME", "value": DAGSTER_HOME}
        assert home in process["env"]
        assert process["securityContext"]["readOnlyRootFilesystem"] is True
        assert process["envConfigMaps"] == [{"name": "lalafo-settings"}]


# The network, as the policies allow it.
POSTGRESQL, KAFKA = ("10.0.3.4", 5432), ("10.0.3.5", 9092)
SELLER, SELLER6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
API_SERVER = ("10.0.0.2", 6443)
METADATA = "169.254.169.254"


def run_pod(role: PodRole) -> Pod:
    config = role_config(Pods(), role, "cpu")
    ports = {it["name"]: it["container_port"] for it in config["container_config"]["ports"]}
    return Pod(config["pod_template_spec_metadata"]["labels"], ports=ports)


def chart_pod(name: str) -> Pod:
    pod = pods("everything")[name]
    ports = {
        it["name"]: it["containerPort"]
        for container in containers_of(pod)
        for it in container.get("ports", [])
    }
    return Pod(pod["metadata"]["labels"], ports=ports)


def every_pod() -> dict[str, Pod]:
    return {name: chart_pod(name) for name in pods("everything")} | {
        f"a run: {role}": run_pod(role) for role in get_args(PodRole)
    }


def policies() -> list[dict[str, Any]]:
    return [it for it in manifests("everything") if it["kind"] == "NetworkPolicy"]


FETCHERS = {"lalafo-lag-sessions", "a run: session", "a run: indexer", "a run: batch"}
CREATORS = {"lalafo-dagster-daemon", "lalafo-dagster-webserver", "a run: coordinator"}


def test_every_pod_reaches_the_servers() -> None:
    for name, pod in every_pod().items():
        assert egress_allowed(policies(), pod, *POSTGRESQL), name
        assert egress_allowed(policies(), pod, *KAFKA), name


def test_fetchers_alone_reach_the_internet() -> None:
    """On the ports that the product fetches from."""
    for name, pod in every_pod().items():
        for address in (SELLER, SELLER6):
            for port in (80, 443, 8443):
                assert egress_allowed(policies(), pod, address, port) is (name in FETCHERS), name
            assert not egress_allowed(policies(), pod, address, 25), name


@pytest.mark.parametrize(
    ("address", "port"),
    [
        *((METADATA, port) for port in (80, 443)),
        ("10.0.3.4", 80),  # a neighbour of PostgreSQL's
        ("10.0.3.5", 8080),
        ("172.20.0.1", 443),  # a Service
        ("192.168.7.7", 443),
        ("100.64.0.9", 443),
        ("127.0.0.1", 8080),
        ("fd00::7", 443),
        ("fe80::1", 80),
        ("::1", 8080),
        ("64:ff9b::a00:304", 443),  # 10.0.3.4 by NAT64
    ],
)
def test_nobody_who_fetches_reaches_the_cluster(address: str, port: int) -> None:
    for name in FETCHERS:
        assert not egress_allowed(policies(), every_pod()[name], address, port), name


def test_those_who_create_jobs_alone_reach_kubernetes_api() -> None:
    for name, pod in every_pod().items():
        assert egress_allowed(policies(), pod, *API_SERVER) is (name in CREATORS), name


def test_pods_reach_each_other_where_they_must_alone() -> None:
    """Webserver and daemon reach the code server. All else goes by PostgreSQL and Kafka."""
    found = {
        (source, to, port)
        for source, one_pod in every_pod().items()
        for to, other in every_pod().items()
        for port in (3000, 4000, 8080, METRICS_PORT)
        if connects(policies(), one_pod, other, port)
    }
    assert found == {
        (f"lalafo-dagster-{name}", "lalafo-dagster-code", 4000) for name in ("webserver", "daemon")
    }


def test_proxy_and_prometheus_reach_what_they_serve_and_read() -> None:
    proxy, prometheus = Pod({}, "ingress-nginx"), Pod({}, "monitoring")
    somebody = Pod({}, "default")

    def reached(source: Pod) -> set[tuple[str, int]]:
        return {
            (name, port)
            for name, pod in every_pod().items()
            for port in (3000, 4000, 8080, METRICS_PORT)
            if ingress_allowed(policies(), pod, source, port)
        }

    sessions = {("a run: session", METRICS_PORT), ("lalafo-lag-sessions", METRICS_PORT)}
    assert reached(proxy) == {("lalafo-http", 8080), ("lalafo-dagster-webserver", 3000)}
    assert reached(prometheus) == {("lalafo-http", 8080), *sessions}
    assert reached(somebody) == set()


def test_roles_of_runs_are_those_that_policies_name() -> None:
    """A label that is renamed here or there would open or close nothing."""
    named = {
        key
        for policy in policies()
        for selector in [policy["spec"]["podSelector"]]
        for key in [
            *selector.get("matchLabels", {}),
            *(it["key"] for it in selector.get("matchExpressions", [])),
        ]
    }
    carried = {key for pod in every_pod().values() for key in pod.labels}
    assert named <= carried and ROLE_LABEL in named
