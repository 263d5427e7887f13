"""A variable that begins with LALAFO_ is a setting, or is refused with the nearest name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from resources.processes.child import STACK_MARK
from resources.settings import Settings, load_settings
from resources.variables import NOT_SETTINGS, check_variables

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter-2"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [it for it in os.environ if it.startswith("LALAFO_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LALAFO_SESIONS", "LALAFO_SESSIONS"),
        ("LALAFO_DATABASE", "LALAFO_DATABASE_URL"),
        ("LALAFO_GATEWAY_TOKEN", "LALAFO_GATEWAY_"),
        ("LALAFO_KAFKA_SERVERS", "LALAFO_KAFKA_"),
        ("LALAFO_REQUIRE_BROKR", "LALAFO_REQUIRE_BROKER"),
        ("lalafo_sesions", "LALAFO_SESSIONS"),
        ("LALAFO_", "LALAFO_PODS"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest_name(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep its default without a word. The value may be a secret, and is not shown."""
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(ConfigurationError, match=f"{name} .*did you mean {nearest}") as error:
        load_settings()
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_all_of_them_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should have to start three times to correct three names."""
    for name in ("LALAFO_SESIONS", "LALAFO_DEVISE", "LALAFO_HOMES"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    for name in ("LALAFO_SESSIONS", "LALAFO_DEVICE", "LALAFO_HOME"):
        assert f"did you mean {name}?" in str(error.value)


def test_variables_of_other_programs_are_named_in_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A marketplace has variables of its own that begin alike; each is named, or a pattern."""
    monkeypatch.setenv("LALAFO_ENV", "prod")
    monkeypatch.setenv("LALAFO_TEAM_NAME", "vision")
    monkeypatch.setenv("LALAFO_OTHER_VARIABLES", "LALAFO_ENV, lalafo_team_*")
    assert load_settings().sessions == 1
    monkeypatch.setenv("LALAFO_TEEM_NAME", "vision")
    with pytest.raises(ConfigurationError, match="LALAFO_TEEM_NAME is not a setting"):
        load_settings()


def test_what_kubernetes_says_about_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Service named lalafo, or lalafo-ui, sets these in every pod of its namespace."""
    for service in ("LALAFO", "LALAFO_UI"):
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "80")
        monkeypatch.setenv(f"{service}_SERVICE_PORT_HTTP", "80")
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.0.0.1:80")
        monkeypatch.setenv(f"{service}_PORT_80_TCP", "tcp://10.0.0.1:80")
        monkeypatch.setenv(f"{service}_PORT_80_TCP_ADDR", "10.0.0.1")
        monkeypatch.setenv(f"{service}_PORT_80_TCP_PROTO", "tcp")
    assert load_settings().gateway_port == 8080
    monkeypatch.setenv("LALAFO_GATEWAY_PORT", "tcp://10.0.0.1:8080")
    with pytest.raises(
        ConfigurationError, match=r"LALAFO_GATEWAY_PORT=.*enableServiceLinks: false"
    ):
        load_settings()


def test_every_variable_that_the_project_uses_is_known() -> None:
    """In the Makefile, in CI and in the tests too: none of them may stop a command."""
    files = [ROOT / "Makefile", ROOT / ".ci" / "run"]
    for folder in ("gateway", "lalafo_assets", "ops", "resources", "sensors", "tests"):
        files += [f for f in (ROOT / folder).rglob("*.py") if f != Path(__file__)]
    settings = {f"LALAFO_{name.upper()}" for name in Settings.model_fields}
    read = re.compile(r"""(?:environ\.get\(|environ\[|getenv\()["'](LALAFO_\w+)|\b(LALAFO_\w+)=""")
    used = {a or b for file in files for a, b in read.findall(file.read_text(encoding="utf-8"))}
    assert {"LALAFO_REQUIRE_KAFKA", "LALAFO_DRILL", "LALAFO_REQUIRE_NODE"} <= used
    assert used - settings - NOT_SETTINGS == set()
    assert STACK_MARK in NOT_SETTINGS
    check_variables(dict.fromkeys([*settings, *NOT_SETTINGS], ""), Settings.model_fields)


PROGRAMS = [
    ["lalafo_assets.cli", "up"],
    ["lalafo_assets.cli", "stats"],
    ["lalafo_assets.cli", "publish", "events.jsonl"],
    ["lalafo_assets.cli", "bench", "batch"],
    ["gateway"],
]


@pytest.mark.parametrize("arguments", PROGRAMS, ids=[" ".join(it) for it in PROGRAMS])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LALAFO_SESIONS", "LALAFO_SESIONS is not a setting; did you mean LALAFO_SESSIONS?"),
        ("LALAFO_SESSIONS", "LALAFO_SESSIONS='-1': Input should be greater than or equal to 1"),
    ],
)
def test_a_program_ends_at_once_with_one_message(
    arguments: list[str], name: str, message: str, tmp_path: Path
) -> None:
    """Before it starts anything: nothing is written, and there is no traceback."""
    ended = _run(tmp_path, ["-m", *arguments], {name: "-1"})
    assert ended.returncode == 1
    assert message in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_valid_settings(tmp_path: Path) -> None:
    """It is what a person reads who has got them wrong."""
    ended = _run(tmp_path, ["-m", "lalafo_assets.cli", "up", "--help"], {"LALAFO_SESIONS": "2"})
    assert (ended.returncode, ended.stderr) == (0, "")


def test_doctor_names_a_misspelt_setting(tmp_path: Path) -> None:
    ended = _run(tmp_path, ["-m", "lalafo_assets.cli", "doctor"], {"LALAFO_SESIONS": "2"})
    assert ended.returncode == 1
    assert "did you mean LALAFO_SESSIONS?" in " ".join(ended.stdout.split())


@pytest.mark.slow
def test_dagsters_code_location_does_not_load(tmp_path: Path) -> None:
    """With a misspelt setting every run would get its default."""
    load = "from lalafo_assets.definitions import defs; defs()"
    ended = _run(tmp_path, ["-c", load], {"LALAFO_SESIONS": "2"})
    assert ended.returncode == 1
    assert "did you mean LALAFO_SESSIONS?" in ended.stderr


def _run(
    folder: Path, arguments: list[str], added: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LALAFO_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), **added},
        capture_output=True,
        text=True,
    )
