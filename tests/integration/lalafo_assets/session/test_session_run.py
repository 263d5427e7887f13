"""What a session's run shows in Dagster: its steps, where it ran, its days, and their checks."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from lalafo_assets.assets.checks import evaluates
from lalafo_assets.definitions import defs
from resources.catalogue.checks import PHOTOS_CHECK, catalogue_checks
from resources.dagster.names import (
    AD_PHOTOS,
    HOST_TAG,
    METRICS_TAG,
    RELEASE_TAG,
    ROLE_TAG,
    SESSION_JOB,
    STREAM_TAG,
)
from resources.storage.report_pictures import ReportPictures
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.settings_environment import export

PAGE = "http://127.0.0.1:8080"
STEPS = ["load_releases", "drain_ads", "check_days"]


@pytest.fixture
def environment(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """The settings of `live` where runs read them, with a gateway for pictures, and metrics."""
    export(live.settings, monkeypatch)
    monkeypatch.setenv("LALAFO_PICTURES_URL", PAGE)
    monkeypatch.setenv("LALAFO_METRICS_PORT", "48400")
    return live


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def run_session(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = defs().get_repository_def().get_job(SESSION_JOB)
    config = {"resources": {"session": {"config": {"idle_s": 0.6}}}}
    return job.execute_in_process(instance=instance, partition_key=today(), run_config=config)


def check_is_current(instance: dg.DagsterInstance, asset: str, check: str) -> bool:
    """Whether Dagster counts today's check as passed, and shows what was checked."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    (latest,) = instance.fetch_materializations(key.asset_key, limit=1).records
    target = record.evaluation and record.evaluation.target_materialization_data
    assert target is not None
    assert (target.run_id, target.timestamp) == (latest.run_id, latest.timestamp)
    (info,) = instance.event_log_storage.get_asset_check_partition_info([key])
    return (info.partition_key, info.latest_execution_status.value, info.is_current) == (
        *(today(), "SUCCEEDED"),
        True,
    )


def test_a_sessions_run(environment: Live, instance: dg.DagsterInstance) -> None:
    """Steps and brackets for its minutes, links and tags; pictures in each asset's last event."""
    url = environment.photo("1.jpg", jpeg(noisy(80, 60, 1)))
    environment.publish(ad("1", [url, environment.host.url("x", path="missing")]))
    done = run_session(instance)
    (live,) = environment.rows("SELECT live FROM lalafo.active_releases")[0]
    (run,) = instance.get_runs()
    started = [event.step_key for event in done.all_events if event.is_step_start]
    assert (done.success, started) == (True, STEPS)

    logged = [e.dagster_event for e in instance.all_logs(run.run_id) if e.is_dagster_event]
    brackets = [
        (event.step_key, event.engine_event_data.marker_start, event.engine_event_data.marker_end)
        for event in logged
        if event is not None
        and event.event_type is dg.DagsterEventType.ENGINE_EVENT
        and event.step_key == "drain_ads"
    ]
    begun = [start for _, start, _ in brackets if start is not None]
    ended = [end for _, _, end in brackets if end is not None]
    assert any(role.startswith("live") for role in begun)
    assert begun == ended

    stream = environment.stream.stream_id()
    expected = {ROLE_TAG: "ended", RELEASE_TAG: live, STREAM_TAG: stream}
    assert expected.items() <= run.tags.items()
    assert {HOST_TAG, METRICS_TAG} <= run.tags.keys()
    (output,) = [
        event.step_output_data.metadata
        for event in done.all_events
        if event.is_successful_output and event.step_key == "load_releases"
    ]
    assert output["page"] == dg.MetadataValue.url(f"{PAGE}/#/live")
    assert output["ads"] == dg.MetadataValue.url(f"{PAGE}/#/ads")
    assert output["metrics"] == dg.MetadataValue.url(run.tags[METRICS_TAG])
    assert output["releases"].value == live
    assert output["engine"].value == "eager, as LALAFO_MODEL_MODE says"

    run_tasks = {"ad_photos", "photo_embeddings", "ad_categories"}  # of this release
    checks = [(asset, check) for asset, check, _ in catalogue_checks() if asset in run_tasks]
    assert len(checks) == len(run_tasks)
    for asset, check in checks:
        assert check_is_current(instance, asset, check)
    first = {"ad_photos": ["contact_sheet", "failures"], "ad_categories": ["labels", "scores"]}
    for asset, titles in first.items():
        (latest,) = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        (observed,) = instance.fetch_observations(dg.AssetKey(asset), limit=1).records
        assert latest.storage_id > observed.storage_id
        assert latest.asset_materialization is not None
        metadata = latest.asset_materialization.metadata
        assert list(metadata)[:2] == titles
        assert metadata["ads_on_the_page"].value == f"{PAGE}/#/ads?day={today()}"
        name = str(metadata[titles[0]].value).rpartition("/")[2].rstrip(")")
        stored = ReportPictures(environment.settings.resolved_store_url).get(run.run_id, name)
        assert stored[:2] in (b"\xff\xd8", b"\x89P")


def test_of_several_runs_the_one_that_counts_materializes_a_day(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """A check's result is never made obsolete by a run whose own evaluation would not count."""
    check = dg.AssetCheckKey(AD_PHOTOS, PHOTOS_CHECK)
    environment.publish(ad("1", []))
    first = run_session(instance).run_id
    assert evaluates(instance, check, today(), first)
    environment.publish(ad("2", []))
    second = run_session(instance).run_id
    assert check_is_current(instance, "ad_photos", PHOTOS_CHECK)
    assert not evaluates(instance, check, today(), first)
    assert evaluates(instance, check, today(), second)
    assert evaluates(instance, check, today(), "a run that has not evaluated it yet")
