"""The chart as `helm template` renders it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import ROOT

CHART = ROOT / "deploy" / "chart"
KUBERNETES = "1.34.0"


def helm_program() -> str:
    """Helm's path; without it the test is skipped, or fails with LALAFO_REQUIRE_HELM=1."""
    found = shutil.which("helm", path=f"{os.environ['PATH']}:{Path.home()}/go/bin")
    if found is None:
        how = "go install helm.sh/helm/v3/cmd/helm@v3.19.0"
        if os.environ.get("LALAFO_REQUIRE_HELM") == "1":
            pytest.fail(f"LALAFO_REQUIRE_HELM=1, but helm is missing: {how}")
        pytest.skip(f"helm is missing: {how}")
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True)


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The manifests with some values, of a release `ads` in the namespace `ads`."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(values), file)
        file.flush()
        done = helm(
            "template",
            "ads",
            str(CHART),
            "-n",
            "ads",
            "--kube-version",
            KUBERNETES,
            "-f",
            file.name,
        )
    assert done.returncode == 0, done.stderr
    return [it for it in yaml.safe_load_all(done.stdout) if it is not None]
