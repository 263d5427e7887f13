"""A session in a pod of a Deployment, as the chart's `lagSessions` starts it: without a Job."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from resources.dagster.pods.job_launcher import OWN_POD_TAG
from tests.support.documents import ROOT
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import until

pytestmark = pytest.mark.slow

TEMPLATE = ROOT / "deploy" / "chart" / "templates" / "lag-sessions.yaml"
START_S, STOP_S = 200.0, 60.0  # the second is the pod's time to stop


def command() -> list[str]:
    found = re.search(r"command: (\[dagster, job, execute.*\])", TEMPLATE.read_text())
    assert found is not None
    words: list[str] = yaml.safe_load(found[1])
    return [sys.executable, "-m", *words]


@pytest.mark.timeout(START_S + STOP_S + 60)
def test_it_scores_ads_and_ends_by_sigterm(live: Live, tmp_path: Path) -> None:
    """Its run is one of Dagster's, and a success; nothing asks Kubernetes."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    given = {
        f"LALAFO_{name.upper()}": str(getattr(live.settings, name))
        for name in live.settings.model_fields_set
    }
    variables = {**os.environ, **given, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    variables |= {"LALAFO_EXECUTOR": "k8s", "LALAFO_DEVICE": "cpu"}
    live.publish(ad("1", [live.photo("good.jpg", jpeg(noisy(80, 60, 1)))]))
    log = tmp_path / "session.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command(), env=variables, cwd=tmp_path, stdout=out, stderr=out)
    try:
        scored = "SELECT count(*) FROM lalafo.ads WHERE status = 'scored'"
        until(lambda: process.poll() is not None or live.rows(scored) == [(1,)], within_s=START_S)
        assert process.poll() is None, log.read_text()[-3_000:]
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, log.read_text()[-3_000:]
    finally:
        process.kill()
        process.wait()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("score_new_ads", dg.DagsterRunStatus.SUCCESS)
        assert OWN_POD_TAG in run.tags
