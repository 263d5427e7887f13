"""The documents' reference tables list what the code has: no more, and no less."""

import re
from itertools import chain

import pytest

from lalafo_assets.jobs.upkeep import upkeep_job
from resources.dagster.executors import Execution
from tests.support.documents import ROOT, prose_of
from tests.support.queries import alerts

MONITORING = "docs/monitoring.md"


def rows_under(document: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, without their first two lines."""
    part = re.split(r"^#+ ", prose_of(document), flags=re.MULTILINE)
    (section,) = (text for text in part if text.startswith(f"{heading}\n"))
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if not line.startswith("|---") and "`" in line
    ]


def code_of(*folders: str) -> str:
    files = chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders)
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize(
    ("heading", "file", "prefix"),
    [
        ("Session metrics", "resources/sessions/metrics.py", "lalafo_"),
        ("Worker metrics", "resources/changes/metrics.py", "lalafo_"),
        ("Gateway metrics", "gateway/monitoring/metrics.py", "lalafo_gateway_"),
    ],
)
def test_the_metrics_are_those_of_the_code(heading: str, file: str, prefix: str) -> None:
    """A counter has the suffix that Prometheus' client gives it."""
    listed = {row[0].strip("`").removesuffix("_total") for row in rows_under(MONITORING, heading)}
    code = (ROOT / file).read_text()
    named = set(re.findall(rf'"({prefix}\w+)"', code))
    assert named <= listed
    parts = set(re.findall(r'"(\w+)"', code))  # of names that are put together
    assert {name for name in listed - named if name.removeprefix(prefix) not in parts} == set()


def test_the_alerts_are_those_of_the_rules() -> None:
    listed = [row[0].strip("`") for row in rows_under(MONITORING, "Alerts and a dashboard")]
    assert listed == [rule["alert"] for rule in alerts()]
    assert all(rule["annotations"]["summary"] for rule in alerts())


def test_upkeep_s_ops_are_those_of_the_job() -> None:
    listed = [row[0].strip("`") for row in rows_under("docs/upkeep.md", "The job `upkeep`")]
    ops = [node.name for node in upkeep_job(Execution()).nodes]
    assert sorted(listed) == sorted(ops)


def test_the_errors_of_the_api_are_those_of_the_code() -> None:
    """Every kind that the gateway answers, with its status."""
    listed = {
        (int(row[0]), kind)
        for row in rows_under("docs/api.md", "Errors")
        for kind in re.findall(r"`([a-z_0-9]+)`", row[1])
        if kind not in ("allowed", "errors", "reason")
    }
    code = code_of("gateway")
    raised = {
        (int(status), kind)
        for status, kind in re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z_0-9]+)"', code)
    }
    assert raised - listed == set()
    assert {kind for _, kind in listed if kind not in code} == set()
