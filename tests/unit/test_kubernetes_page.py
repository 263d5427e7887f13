"""The commands of docs/kubernetes.md, as far as they go without a cluster.

Helm renders what it would install, with the page's values; kubectl makes the Secrets that it would
send. What builds images or talks to pods is compared with the files and the chart.
"""

import base64
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.dagster.pods.spec import FETCHERS
from resources.pod_settings import Pods
from resources.settings import Settings
from resources.variables import check_variables
from tests.support.document_plan import KUBERNETES, PLAN, Run
from tests.support.documents import ROOT, blocks_of
from tests.support.helm import CHART, helm, rendered
from tests.support.manifests import check_schema

PAGE = {step.starts: step.block.text for step in PLAN if step.run is Run.WITHOUT_CLUSTER}
STORE = {"settings": {"LALAFO_STORE_URL": "s3://ads/photos"}}
STORE_VARIABLES = re.compile(r"AWS_[A-Z0-9_]+")


def commands(starts: str, program: str) -> list[list[str]]:
    """The words of a block's commands of one program."""
    lines = PAGE[starts].replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line))[0] == program]


def values(folder: Path) -> Path:
    """The page's file, written by its own command."""
    subprocess.run(["bash", "-ec", PAGE["cat > values.yaml"]], cwd=folder, check=True)
    return folder / "values.yaml"


def kubectl(*arguments: str) -> dict[str, Any]:
    """What a command would send."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is missing")
    done = subprocess.run(
        [program, *arguments, "--dry-run=client", "-o", "yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def test_the_install_command_gives_valid_manifests_with_the_page_s_values(tmp_path: Path) -> None:
    file = values(tmp_path)
    (install,) = commands("helm upgrade", "helm")
    assert install[:4] == ["helm", "upgrade", "--install", "ads"]
    options = [it for it in install[4:] if it != "--wait"]
    options[options.index("-f") + 1] = str(file)
    options[0] = str(ROOT / options[0])
    assert options[0] == str(CHART)
    done = helm("template", "ads", *options, "--kube-version", "1.34.0")
    assert done.returncode == 0, done.stderr
    found = [it for it in yaml.safe_load_all(done.stdout) if it is not None]
    for manifest in found:
        check_schema(manifest)
    (settings,) = (it["data"] for it in found if it["metadata"]["name"] == "lalafo-settings")
    check_variables(settings, Settings.model_fields)


def test_the_secret_has_settings_and_the_chart_names_it() -> None:
    (create,) = (it for it in commands("kubectl create namespace", "kubectl") if "secret" in it)
    secret = kubectl(*create[1:])
    check_schema(secret)
    assert (
        secret["metadata"]["name"] == yaml.safe_load((CHART / "values.yaml").read_text())["secret"]
    )
    variables = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
    own = {k: v for k, v in variables.items() if not STORE_VARIABLES.fullmatch(k)}
    check_variables(own, Settings.model_fields)
    assert set(own) == {"LALAFO_DATABASE_URL", "LALAFO_DAGSTER_DATABASE_URL"}


def test_the_key_for_prometheus_is_the_chart_s() -> None:
    (create,) = commands("kubectl -n ads create", "kubectl")
    secret = kubectl(*create[1:])
    monitor = next(
        it
        for it in rendered({**STORE, "monitoring": {"enabled": True}})
        if (it["kind"], it["metadata"]["name"]) == ("PodMonitor", "lalafo-http")
    )
    named = monitor["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"]
    assert named["name"] == secret["metadata"]["name"] and named["key"] in secret["data"]


def test_images_are_built_of_files_that_are_there_with_the_names_of_the_values(
    tmp_path: Path,
) -> None:
    images = yaml.safe_load(values(tmp_path).read_text())["images"]
    built = {}
    for words in commands("export REGISTRY", "buildah"):
        assert (ROOT / words[words.index("-f") + 1]).is_file()
        built[words[words.index("-t") + 1]] = "TORCH_INDEX=" in words
    assert built == {
        "$REGISTRY/gateway:$TAG": False,
        "$REGISTRY/worker:$TAG": False,
        "$REGISTRY/worker-cuda:$TAG": True,
    }
    assert f"TAG={images['tag']}\n" in PAGE["export REGISTRY"]
    assert all(
        images[name].startswith("registry.example.org/lalafo/")
        for name in built and images
        if name != "tag"
    )


def test_what_commands_name_is_in_the_chart() -> None:
    """Deployments to execute in, Services to forward, labels to list."""
    found = rendered(STORE)
    names = {f"{it['kind'].lower()}/{it['metadata']['name']}" for it in found}
    text = "\n".join(block.text for block in blocks_of(KUBERNETES, "sh"))
    for name in re.findall(r"deploy/([a-z-]+) --", text.replace("\\\n", " ")):
        assert f"deployment/{name}" in names
    for name, port in re.findall(r"svc/([a-z-]+) \d+:(\d+)", text):
        assert f"service/{name}" in names
        (service,) = (
            it for it in found if (it["kind"], it["metadata"]["name"]) == ("Service", name)
        )
        assert int(port) in [it["port"] for it in service["spec"]["ports"]]


def test_the_example_of_pods_is_valid() -> None:
    (block,) = (it for it in blocks_of(KUBERNETES, "yaml") if it.text.startswith("pods:"))
    pods = Pods.model_validate(yaml.safe_load(block.text)["pods"])
    assert pods.batch.cpu == "4" and pods.home_claim == "lalafo-home"


def test_the_table_of_roles_is_the_code_s() -> None:
    row = r"^\| `(\w+)` \|[^|]*\| (\w+) CPU, (\w+) \| (\d?) ?\| ?(yes)? ?\|$"
    rows = re.findall(row, (ROOT / KUBERNETES).read_text(), re.MULTILINE)
    found = {role: (cpu, memory, gpus) for role, cpu, memory, gpus, _ in rows}
    options = {role: Pods().options(role) for role in found}  # type: ignore[arg-type]
    assert len(found) == 7
    for role, (cpu, memory, gpus) in found.items():
        of = options[role]
        assert (cpu, memory, gpus or "0") == (of.cpu, of.memory, str(of.gpus)), role
    assert {role for role, *_, internet in rows if internet} == FETCHERS
