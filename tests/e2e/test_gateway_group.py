"""The gateway as in its image: only the dependency group `gateway` and this package."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from resources.embedded.broker import EmbeddedBroker
from resources.postgres.database import Database

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "lalafo_assets", "ops", "resources", "sensors")
ABSENT = ("torch", "dagster", "sqlalchemy", "numpy", "alembic", "pandas", "typer")
NO_NETWORK = re.compile(
    r"dns error|name resolution|name or service not known|network is unreachable|no route to host|"
    r"connection refused|error trying to connect|failed to establish a new connection|"
    r"operation timed out|connect timeout",
    re.IGNORECASE,
)
START_WITHIN_S = 90


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the group's packages and this package."""
    folder = tmp_path_factory.mktemp("image")
    uv = uv_program()
    interpreter = folder / "venv" / "bin" / "python"
    if uv is None:
        run([sys.executable, "-m", "venv", str(folder / "venv")])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    else:
        run([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")])
        pip = [uv, "pip", "install", "--quiet", "--python", str(interpreter)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    install([*pip, "-c", str(ROOT / "constraints.txt"), *project["dependency-groups"]["gateway"]])
    install([*pip, "--no-deps", str(sources(folder / "sources"))])
    return interpreter


def uv_program() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def sources(folder: Path) -> Path:
    """A copy of the sources: a build writes files next to them."""
    folder.mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


def run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def install(command: list[str]) -> None:
    """Install packages; skip the tests only if the registry can't be reached."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0 and NO_NETWORK.search(result.stderr):
        pytest.skip("the package registry can't be reached")
    assert result.returncode == 0, result.stderr


def test_nothing_of_the_models_is_installed(python: Path):
    code = "import importlib.util, json, sys; print(json.dumps([n for n in sys.argv[1:] if "
    code += "importlib.util.find_spec(n) is not None]))"
    found = subprocess.run(
        [python, "-I", "-c", code, "gateway", *ABSENT], capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout) == ["gateway"]


def test_it_serves(
    python: Path, database_url: str, embedded_broker: EmbeddedBroker, tmp_path: Path
):
    with closing(Database(database_url)) as database:
        database.migrate()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LALAFO_", "PYTHON", "VIRTUAL_ENV"))
    }
    settings = {"LALAFO_DATABASE_URL": database_url, "LALAFO_HOME": str(tmp_path)}
    settings["LALAFO_GATEWAY_AUTH"] = "off"
    log = tmp_path / "gateway.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, "-m", "gateway", "--port", "0"],
            env={**inherited, **embedded_broker.exports(), **settings},
            cwd=tmp_path,  # not the checkout, so that the installed package is imported
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, log.read_text()
        deadline = time.monotonic() + START_WITHIN_S
        checks = {}
        while not checks.get("broker", {}).get("ok"):
            assert process.poll() is None and time.monotonic() < deadline, (checks, log.read_text())
            try:
                assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
                ready = httpx.get(f"{address}/readyz")
                assert ready.status_code == 200, ready.text
                checks = ready.json()["checks"]
            except httpx.TransportError:
                time.sleep(0.05)
        assert checks["postgresql"]["ok"]
        page = httpx.get(f"{address}/")
        assert (page.status_code, "<html" in page.text) == (200, True)
        assert len(httpx.get(f"{address}/v1/openapi.json").json()["paths"]) > 5
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
