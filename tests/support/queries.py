"""PromQL in the alert rules and the dashboard: the metrics that each query names."""

import json
import re
from typing import Any

import yaml

from tests.support.documents import ROOT

FILES = ROOT / "deploy" / "chart" / "files"
_METRIC = re.compile(r"\blalafo_\w+")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panel_queries() -> dict[str, str]:
    """By panel and letter."""
    board = json.loads((FILES / "dashboard.json").read_text())
    return {
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }


def queries() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in alerts()} | panel_queries()


def metrics_of(query: str) -> set[str]:
    return set(_METRIC.findall(query))
