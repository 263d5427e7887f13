"""What each block of commands of the documents is expected to do, in their order.

The blocks of the tour are run on one demo, those of `OWN_SERVERS` on a Kafka and a PostgreSQL of
the test's own. A block that can't be run as a whole has the reason here.
"""

from dataclasses import dataclass
from enum import Enum

from tests.support.documents import Block, blocks_of

LANGUAGES = ("sh", "python", "sql")


class Run(Enum):
    """How a block is run."""

    ONCE = "to its end"
    AGAIN = "to its end, and again until it prints what is expected"
    UNTIL_CTRL_C = "in a shell of its own, until Ctrl-C"
    EACH_LINE = "each line in a shell of its own, until Ctrl-C"
    OWN_SERVERS = "by tests/e2e/test_own_servers.py"
    TASK_FILE = "by tests/unit/test_new_task.py"
    TASK_PACKAGE = "by tests/integration/resources/sessions/test_installed_tasks.py"
    ANALYSIS = "by tests/integration/resources/exports/test_analysis.py"
    WITHOUT_CLUSTER = "by tests/unit/test_kubernetes_page.py, as far as it goes without a cluster"
    NOT = "not at all"


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands: how it begins, what it prints, and how it is run.

    Args:
        why_not: why it can't be run here.
    """

    document: str
    starts: str
    prints: str = ""
    run: Run = Run.ONCE
    why_not: str = ""

    @property
    def block(self) -> Block:
        """The one block that begins so."""
        found = [
            block
            for block in blocks_of(self.document, *LANGUAGES)
            if block.text.startswith(self.starts)
        ]
        assert len(found) == 1, f"{self.document}: {len(found)} blocks begin with {self.starts!r}"
        return found[0]


ADD_A_TASK = "docs/add-a-task.md"
README, API, RESULTS = "README.md", "docs/api.md", "docs/results.md"
ANALYSIS = "docs/analysis.md"
UPKEEP, DEPLOYMENT = "docs/upkeep.md", "docs/deployment.md"
GATEWAY = "curl -sS $LALAFO_GATEWAY_URL"
KUBERNETES = "docs/kubernetes.md"
SETTINGS = "examples of settings: tests/unit/test_document_blocks.py reads them"

PLAN = (
    Step("CONTRIBUTING.md", '"""The task `condition`', run=Run.TASK_FILE),
    Step(ADD_A_TASK, '"""The task `colours`', run=Run.TASK_PACKAGE),
    Step(ADD_A_TASK, "lalafo releases extend", "Next:", run=Run.TASK_PACKAGE),
    Step(ADD_A_TASK, "curl -sS", run=Run.TASK_PACKAGE),
    Step(ADD_A_TASK, "from pydantic import", run=Run.TASK_PACKAGE),
    Step(ANALYSIS, "lalafo export", run=Run.ANALYSIS),
    Step(ANALYSIS, "import pandas as pd", run=Run.ANALYSIS),
    Step(ANALYSIS, "from gateway.client", run=Run.ANALYSIS),
    Step(ANALYSIS, "filed = ", run=Run.ANALYSIS),
    Step(ANALYSIS, "wrong = ", run=Run.ANALYSIS),
    Step(ANALYSIS, "scores = ", run=Run.ANALYSIS),
    Step(ANALYSIS, "if ", run=Run.ANALYSIS),
    Step(ANALYSIS, "daily = ", run=Run.ANALYSIS),
    Step(README, "make demo\n", "Running.", Run.UNTIL_CTRL_C),
    Step(README, 'curl -sS "http://127.0.0.1:8080/v1/ads?wait=5"', '"label":"chair"'),
    Step(README, "source .venv/bin/activate\n", "category"),
    Step(README, "from pathlib import Path", "chair 0."),
    Step(README, "python3 -m http.server 8000", "", Run.UNTIL_CTRL_C),
    Step(README, "lalafo publish docs/examples/events.jsonl", "5 events accepted"),
    Step(README, "lalafo results kg/100", "chair", Run.AGAIN),
    Step(
        README,
        "make demo PHOTOS=~/photos",
        run=Run.NOT,
        why_not="a second demo takes a minute more: what make passes to it is compared",
    ),
    Step(README, "CREATE DATABASE lalafo;", "CREATE EXTENSION", Run.OWN_SERVERS),
    Step(README, "cat > lalafo.env", "", Run.OWN_SERVERS),
    Step(README, "source lalafo.env\n", "is live", Run.OWN_SERVERS),
    Step(README, "source lalafo.env && dagster api grpc", "", Run.OWN_SERVERS),
    Step(README, "export LALAFO_GATEWAY_KEY", '"state":"accepted"', Run.OWN_SERVERS),
    Step(README, "lalafo results kg/1\n", "chair", Run.OWN_SERVERS),
    Step("docs/operations.md", "lalafo settings --changed", "GATEWAY_PORT"),
    Step(API, "lalafo serve", "The page:", Run.UNTIL_CTRL_C),
    Step(API, "source .venv/bin/activate\n", '"label":"chair"'),
    Step(API, f"{GATEWAY}/v1/ads/kg/42 -H", '"label":"chair"'),
    Step(API, f"{GATEWAY}/v1/ads -H", '"known_revision":7'),
    Step(API, 'curl -sS "$LALAFO_GATEWAY_URL/v1/ads?catalog', '"next":'),
    Step(API, f"{GATEWAY}/v1/photos", '"bytes":18921'),
    Step(API, f"{GATEWAY}/v1/ads/kg/42/feedback", '"label":"armchair"'),
    Step(API, "from pathlib import Path", "no_such_ad"),
    Step(API, "lalafo publish", "5 events accepted"),
    Step(API, f"{GATEWAY}/classify", '"category":"chair"'),
    Step(DEPLOYMENT, "dagster instance concurrency set gpu_stream 5", "", Run.OWN_SERVERS),
    Step(DEPLOYMENT, "export LALAFO_KAFKA_BOOTSTRAP=b-1", run=Run.NOT, why_not=SETTINGS),
    Step(DEPLOYMENT, "export LALAFO_KAFKA_BOOTSTRAP=kafka.", run=Run.NOT, why_not=SETTINGS),
    Step(KUBERNETES, "export REGISTRY", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "kubectl create namespace", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "cat > values.yaml", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "helm upgrade", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "kubectl -n ads exec", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "KEY=", run=Run.WITHOUT_CLUSTER),
    Step(KUBERNETES, "kubectl -n ads create", run=Run.WITHOUT_CLUSTER),
    Step(
        "docs/performance.md",
        "lalafo bench stream --json",
        run=Run.NOT,
        why_not="minutes each: tests/integration/lalafo_assets/bench/ runs shorter ones",
    ),
    Step(RESULTS, "SELECT a.catalog", "chair"),
    Step(RESULTS, "SELECT reason", "photo_"),
    Step(UPKEEP, "lalafo dlq list", "event_unknown_schema"),
    Step(UPKEEP, "lalafo dlq replay", "1 dead letters"),
)
