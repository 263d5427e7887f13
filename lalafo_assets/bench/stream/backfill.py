"""Launches a re-score beside the stream: stored photos without embeddings, and a run to embed them.

The run is the product's own job, launched through Dagster's GraphQL API as Dagster's UI does.
"""

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lalafo_assets.bench.batch.worker import DAY, store_photos
from lalafo_assets.bench.harness.options import StreamBench
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.bench.harness.place import Place
from lalafo_assets.stack.first_sessions import LOCATION
from ops.errors import LalafoError

JOB = "rescore_days"
SEED = 2  # another one than the stream's photos have, for other noise
_LAUNCH = (
    "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename "
    "... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A launched run of the re-score."""

    run_id: str
    photos: int

    def window(self) -> tuple[float | None, float | None]:
        """When it started and ended, in seconds since 1970 (UTC); None if it has not yet."""
        with dg.DagsterInstance.get() as instance:
            record = instance.get_run_record_by_id(self.run_id)
            return (None, None) if record is None else (record.start_time, record.end_time)

    def status(self) -> str:
        """Dagster's status of the run; "GONE" if the run was deleted."""
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(self.run_id)
            return "GONE" if run is None else run.status.value


def prepare_backfill(bench: StreamBench, place: Place) -> None:
    """Store photos of one earlier day, one per ad, without their embeddings."""
    photos = bench_photos(bench.backfill_photos, folder=bench.photos, seed=SEED)
    store_photos(place.database, place.settings.resolved_store_url, photos)


def launch_backfill(bench: StreamBench, place: Place) -> Backfill:
    """Launch the re-score of that day.

    Raises:
        LalafoError: Dagster does not launch it.
    """
    params = {
        "selector": {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "jobName": JOB,
        },
        "runConfigData": {},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": DAY.isoformat()}]},
    }
    answer = _query(place.stack.ui_url, _LAUNCH, {"p": params})
    launched = answer.get("data", {}).get("launchRun", {})
    if launched.get("__typename") != "LaunchRunSuccess":
        raise LalafoError(f"Dagster did not launch {JOB}: {json.dumps(answer)[:300]}")
    return Backfill(launched["run"]["runId"], bench.backfill_photos)


def _query(ui_url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - the stack's webserver on loopback
        f"{ui_url}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the same
        answer: dict[str, Any] = json.load(response)
    return answer
