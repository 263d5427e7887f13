"""The containers on one machine, and the images: what they contain, open and may do."""

import json
import re
from typing import Any

import pytest
import yaml

from resources.dagster.pods.spec import DAGSTER_HOME, HOME
from resources.processes.environment import TUNING
from resources.settings import Settings
from resources.variables import check_variables
from tests.support.documents import ROOT

DEPLOY = ROOT / "deploy"
PRODUCT = {"migrate", "code", "daemon", "webserver", "gateway"}
IMAGES = ("gateway", "worker")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())[
        "services"
    ]
    return found


def containerfile(name: str) -> str:
    return (DEPLOY / f"{name}.Containerfile").read_text()


def test_the_product_s_containers_write_to_named_paths_as_anybody() -> None:
    for name in PRODUCT:
        service = services()[name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert f"home:{HOME}" in service["volumes"]
        if name != "gateway":
            assert any(it.startswith(f"{DAGSTER_HOME}/storage") for it in service["tmpfs"])


def test_every_image_has_a_version() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"\S+:(\$\{LALAFO_TAG:-)?v?\d[\w.-]*\}?", service["image"]), name


def test_ports_are_those_of_this_machine_and_dagster_s_ui_has_none() -> None:
    published = {name: it["ports"] for name, it in services().items() if "ports" in it}
    assert set(published) == {"gateway", "proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    caddy = (DEPLOY / "compose" / "Caddyfile").read_text()
    assert "basic_auth" in caddy and "reverse_proxy webserver:3000" in caddy


def test_the_settings_are_settings() -> None:
    variables = services()["gateway"]["environment"]
    check_variables(variables, Settings.model_fields)
    assert "LALAFO_EXECUTOR" not in variables, "runs are processes of the code server"


def test_no_password_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    used = re.findall(r"\$\{(\w*PASSWORD\w*)(:[-?][^}]*)?\}", text)
    assert {name for name, _ in used} == {
        "POSTGRES_PASSWORD",
        "GRAFANA_PASSWORD",
        "DAGSTER_PASSWORD_HASH",
    }
    assert not any(rest.startswith(":-") for _, rest in used)
    example = (DEPLOY / "compose" / "example.env").read_text()
    for name, _ in used:
        assert re.search(rf"^{name}=('')?$", example, re.MULTILINE), name


def test_files_that_are_mounted_are_there() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), f"{name}: {source}"


def test_every_code_location_has_the_same_name() -> None:
    workspace = yaml.safe_load((DEPLOY / "compose" / "workspace.yaml").read_text())
    (server,) = (it["grpc_server"] for it in workspace["load_from"])
    command = services()[server["host"]]["command"]
    assert command[command.index("--location-name") + 1] == server["location_name"]
    assert command[command.index("-p") + 1] == str(server["port"])


def test_prometheus_has_the_rules_and_reads_gateway_and_sessions() -> None:
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    mounted = {it.split(":")[1] for it in services()["prometheus"]["volumes"]}
    assert set(config["rule_files"]) <= mounted
    jobs = {it["job_name"]: it["static_configs"][0]["targets"] for it in config["scrape_configs"]}
    assert jobs["gateway"] == ["gateway:8080"]
    first = int(services()["code"]["environment"]["LALAFO_METRICS_PORT"])
    sessions = int(services()["code"]["environment"].get("LALAFO_SESSIONS", "1"))
    ports = range(first, first + 2 * sessions + 1)
    assert jobs["sessions"] == [f"code:{port}" for port in ports]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_anybody_but_root(name: str) -> None:
    """A number: Kubernetes can't see of a name whether it is root."""
    users = re.findall(r"^USER (.*)$", containerfile(name), re.MULTILINE)
    assert users == ["1000:0"]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_s_versions_are_those_of_the_tests(name: str) -> None:
    """The base has a version, and every package comes by the constraints."""
    text = containerfile(name)
    assert re.search(r"^ARG PYTHON=\S+:3\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    commands = re.findall(r"pip install (.*)", text.replace("\\\n", " "))
    installs = [it for it in commands if "pip==" not in it]
    assert len(installs) >= 2
    for arguments in installs:
        assert "--constraint constraints.txt" in arguments or "--no-deps" in arguments


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_all_packages_and_nothing_of_the_checkout_s_state(name: str) -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", containerfile(name), re.MULTILINE))
    assert copied == {"gateway", "lalafo_assets", "ops", "resources", "sensors"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", ".lalafo", "lalafo.env"} <= set(ignored)


def test_a_worker_has_dagster_s_configuration_and_computes_as_fast_as_elsewhere() -> None:
    text = containerfile("worker")
    assert "cat dagster.yaml dagster-storage.yaml" in text
    assert f"DAGSTER_HOME={DAGSTER_HOME}" in text and f"LALAFO_HOME={HOME}" in text
    for name, value in TUNING.items():
        assert f"{name}={value}" in text
    assert "--group gateway" in containerfile("gateway")


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    """Panels with different ids in places of their own, each query with its own letter."""
    board = json.loads((DEPLOY / "chart" / "files" / "dashboard.json").read_text())
    panels = board["panels"]
    assert len({it["id"] for it in panels}) == len(panels) >= 20
    assert len({(it["gridPos"]["x"], it["gridPos"]["y"]) for it in panels}) == len(panels)
    for panel in panels:
        letters = [it["refId"] for it in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
