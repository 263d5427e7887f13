"""The commands of the documents as they stand, as a newcomer runs them in a clone: demo and tour.

The clone is a copy in a folder whose name has a space. A port is replaced where another program has
it. `tests/support/document_plan.py` says what each block is expected to do.
"""

import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lalafo_assets.stack.supervisor import running_stack
from tests.conftest import connect_args
from tests.e2e.test_demo import assert_all_ended
from tests.support.checkout import checkout_variables, free_ports, make_checkout
from tests.support.document_plan import PLAN, Run, Step
from tests.support.document_shell import DocumentShell, Started, psql_variables

pytestmark = pytest.mark.stack

PATIENCE_S = 300
RESULT_S = 300
ADS = "12"
"""As in `make demo ADS=12`: soon done. tests/e2e/test_demo.py has a second release too."""

ELSEWHERE = (
    *(Run.OWN_SERVERS, Run.TASK_FILE, Run.TASK_PACKAGE, Run.ANALYSIS, Run.WITHOUT_CLUSTER),
)
(DEMO,) = (step for step in PLAN if step.starts == "make demo\n")
TOUR = [step for step in PLAN if step.run not in ELSEWHERE and step is not DEMO]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lalafo-test-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "home").mkdir()
        (Path(folder) / "logs").mkdir()
        yield Path(folder)


@pytest.fixture(scope="module")
def shell(folder: Path) -> Iterator[DocumentShell]:
    """A newcomer's shell in a clone."""
    replaced = free_ports(8080, 8090, 8000, 3000)
    checkout = make_checkout(folder / "a clone", replaced=replaced)
    variables = {
        **checkout_variables(checkout),
        "HOME": str(folder / "home"),
        "ADS": ADS,  # make takes its variables from the environment too
        "WEIGHTS": "starter",  # without waiting for a download
    }
    if "8080" in replaced:
        variables["LALAFO_GATEWAY_PORT"] = replaced["8080"]
    if "3000" in replaced:
        variables["PORT"] = replaced["3000"]
    with DocumentShell(checkout, variables, replaced=replaced, logs=folder / "logs") as shell:
        yield shell


@pytest.fixture(scope="module")
def demo(shell: DocumentShell) -> Started:
    """The demo of the README's first block."""
    started = shell.start(DEMO.block)
    started.wait_for(DEMO.prints, PATIENCE_S)
    stack = running_stack(shell.folder / ".lalafo")
    assert stack is not None
    shell.variables.update(psql_variables(connect_args(stack.exports["LALAFO_DATABASE_URL"])))
    return started


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("step", TOUR, ids=lambda step: f"{step.document}-{step.starts.strip()}")
def test_a_block_does_what_the_document_says(
    step: Step, shell: DocumentShell, demo: Started
) -> None:
    """Each block in its order, in a shell that has the exports of those before."""
    if step.run is Run.NOT:
        pytest.skip(step.why_not)
    elif step.run is Run.UNTIL_CTRL_C:
        shell.start(step.block).wait_for(step.prints, RESULT_S)
    elif step.run is Run.AGAIN:
        shell.run_until(step.block, step.prints, within_s=RESULT_S)
    else:
        assert step.prints in shell.run(step.block)


def test_make_passes_the_folder_of_own_photos_on(shell: DocumentShell) -> None:
    """`make demo PHOTOS=~/photos`, without the demo."""
    (command,) = (step.block.text for step in PLAN if "PHOTOS=" in step.starts)
    done = subprocess.run(
        ["bash", "-c", command.replace("make ", "make --dry-run ", 1)],
        cwd=shell.folder,
        env=shell.variables,
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(done.stdout)
    assert words[words.index("--photos") + 1] == f"{shell.variables['HOME']}/photos"


@pytest.mark.timeout(120)
def test_ctrl_c_ends_everything_and_the_state_can_be_deleted(
    shell: DocumentShell, demo: Started
) -> None:
    """As the README's table says; the logs are where it says."""
    home = shell.folder / ".lalafo"
    assert {log.name for log in (home / "logs").iterdir()} >= {"gateway.log", "daemon.log"}
    assert (home / "postgres" / "log").is_file()
    shell.interrupt(demo)  # make itself ends by the signal
    assert demo.output.rstrip().endswith("Stopping."), demo.output
    assert_all_ended(home, within_s=10)
    subprocess.run(["rm", "-rf", ".lalafo"], cwd=shell.folder, check=True)
