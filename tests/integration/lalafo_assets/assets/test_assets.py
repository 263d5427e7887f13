"""The assets as Dagster runs them: a re-score agrees with the stream, and skips current rows."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pytest

from lalafo_assets.assets import photos
from lalafo_assets.definitions import defs
from ops.models import embed
from resources.dagster.names import RELEASE_SCORES, RELEASE_TAG, SESSION_JOB
from resources.inference.loading import install
from resources.photos import loading
from resources.releases.coverage import read_coverage
from resources.releases.promotion import propose
from resources.releases.registry import write_verdict
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.settings_environment import export

KEYS = {
    *("ad_categories", "ad_photos", "ad_prices", "kafka/ads", "photo_embeddings"),
    *("ad_forbidden_goods", "photo_quality", "photo_moderation", "photo_segments"),
    "catalogue_export",
    *("training_set", "model_release", "release_scores", "release_diff", "similarity_index"),
    "ad_duplicates",
}
SCORES = (
    "SELECT ad_id, task, label, score, revision FROM lalafo.predictions "
    "WHERE release = %s ORDER BY 1, 2"
)


@pytest.fixture
def environment(live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """Export the settings of `live` to the environment, where runs read them."""
    export(live.settings, monkeypatch)
    return live


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def run_job(
    name: str, instance: dg.DagsterInstance, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    job = defs().get_repository_def().get_job(name)
    config = {"resources": {"session": {"config": {"idle_s": 0.6}}}} if name == SESSION_JOB else {}
    return job.execute_in_process(
        instance=instance, partition_key=today(), run_config=config, tags=tags
    )


def test_the_assets_are_these() -> None:
    """The names in the asset graph: adding or removing an asset must be a deliberate change."""
    assert {spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()} == KEYS


def test_loading_the_definitions_loads_no_model_library() -> None:
    """The code server starts quickly: only runs import torch and matplotlib."""
    import subprocess
    import sys

    code = (
        "import sys, lalafo_assets.definitions as d; d.defs(); "
        "print([m for m in ('torch', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_session_run_materializes_every_asset_of_the_day(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """One run: materializations of three assets for today, passed checks, and pictures."""
    urls = [environment.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(4)]
    environment.publish(
        *(ad(str(n), [urls[n], environment.host.url("x", path="missing")]) for n in range(4))
    )
    assert run_job(SESSION_JOB, instance).success
    for key in ("ad_photos", "photo_embeddings", "ad_categories"):
        assert today() in instance.get_materialized_partitions(dg.AssetKey(key))
    latest = instance.get_latest_materialization_event(dg.AssetKey("ad_photos"))
    assert latest is not None and latest.asset_materialization is not None
    metadata = latest.asset_materialization.metadata
    assert metadata["photos"].value == 8
    assert metadata["photos_failed"].value == 4
    observed = instance.fetch_observations(dg.AssetKey(["kafka", "ads"]), limit=5).records
    assert any("latency" in r.asset_observation.metadata for r in observed)
    checked = instance.event_log_storage.get_asset_check_summary_records(
        [
            dg.AssetCheckKey(dg.AssetKey("ad_photos"), "in_is_out_plus_failed"),
            dg.AssetCheckKey(dg.AssetKey("photo_embeddings"), "unit_vectors"),
        ]
    )
    states = [record.last_check_execution_record for record in checked.values()]
    assert len(states) == 2
    assert all(state is not None and state.status.value == "SUCCEEDED" for state in states)


def test_a_rescore_gives_the_same_as_the_stream(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """Scored again from stored photos alone: same keys, same labels, scores within 1e-3."""
    urls = [environment.photo(f"{n}.jpg", jpeg(noisy(700, 500, n))) for n in range(6)]
    environment.publish(*(ad(str(n), urls[n : n + 2]) for n in range(5)), ad("none", []))
    environment.drain()
    name = environment.rows("SELECT live FROM lalafo.active_releases")[0][0]
    streamed = environment.rows(SCORES, name)
    vectors = dict(environment.rows("SELECT sha256, embedding::text FROM lalafo.embeddings"))
    with environment.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions")
        cursor.execute("DELETE FROM lalafo.embeddings")
    environment.host.stop()  # nothing is fetched again
    assert run_job("rescore_days", instance).success
    scored = environment.rows(SCORES, name)
    assert [(a, t, lbl, r) for a, t, lbl, _, r in scored] == [
        (a, t, lbl, r) for a, t, lbl, _, r in streamed
    ]
    assert np.allclose([row[3] for row in scored], [row[3] for row in streamed], atol=1e-3)
    again = dict(environment.rows("SELECT sha256, embedding::text FROM lalafo.embeddings"))
    assert set(again) == set(vectors)


def test_only_stale_rows_are_updated(environment: Live, instance: dg.DagsterInstance) -> None:
    """A second run writes nothing; a release with another head writes predictions only."""
    url = environment.photo("a.jpg", jpeg(noisy(80, 60, 1)))
    environment.publish(ad("1", [url]))
    environment.drain()
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT DISTINCT run_id FROM lalafo.predictions") == [("run-1",)]
    other = environment.make_live(random_release(seed=2))
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT DISTINCT run_id FROM lalafo.embeddings") == [("run-1",)]
    assert [row[0] for row in environment.rows(SCORES, other)] == ["1"]


def test_a_run_scores_for_the_release_that_its_tag_names(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """A candidate's rows are stored beside the live ones; its day is closed and materialized."""
    urls = [environment.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(3)]
    environment.publish(*(ad(str(n), [urls[n]]) for n in range(3)))
    environment.drain()
    (live,) = environment.rows("SELECT live FROM lalafo.active_releases")[0]
    before = environment.rows(SCORES, live)
    store = ReleaseStore(environment.settings.resolved_store_url)
    other = install(environment.database, store, random_release(seed=7, backbone_seed=1)).name
    verdict = {"passed": True, "against": live, "why": [], "figures": {}}
    write_verdict(environment.database, other, verdict)
    propose(environment.database, other)
    assert run_job("rescore_days", instance, {RELEASE_TAG: other}).success
    assert environment.rows(SCORES, live) == before
    assert [row[0] for row in environment.rows(SCORES, other)] == ["0", "1", "2"]
    backbones = environment.rows("SELECT count(*) FROM lalafo.embeddings GROUP BY backbone")
    assert backbones == [(3,), (3,)]
    assert read_coverage(environment.database, other).complete
    cells = {dg.MultiPartitionKey({"day": today(), "release": name}) for name in (live, other)}
    assert instance.get_materialized_partitions(RELEASE_SCORES) == cells
    latest = instance.get_latest_materialization_event(dg.AssetKey("ad_categories"))
    assert latest is not None and latest.asset_materialization is not None
    metadata = latest.asset_materialization.metadata
    assert (metadata["days_complete"].value, metadata["days_unscored"].value) == (1, 0)
    assert f"| {today()} | 3 | 0 | 0 | complete |" in str(metadata["days"].value)


def test_a_day_is_repaired(environment: Live, instance: dg.DagsterInstance) -> None:
    """A photo that failed temporarily is retried; its ad is scored; it gets a thumbnail."""
    failing = environment.host.url("a.jpg", path="error")
    environment.publish(ad("1", [failing]))
    environment.drain()
    assert environment.rows("SELECT status FROM lalafo.ads") == [("unscored",)]
    assert environment.rows("SELECT reason FROM lalafo.failures") == [("fetch_http_error",)]
    good = environment.photo("a.jpg", jpeg(noisy(80, 60, 1)))
    with environment.database.cursor() as cursor:  # the host works again
        cursor.execute("UPDATE lalafo.ad_photos SET url = %s", (good,))
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT status FROM lalafo.ads") == [("scored",)]
    assert environment.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
    assert environment.rows("SELECT count(*) FROM lalafo.predictions") == [(1,)]
    ((thumbnail,),) = environment.rows("SELECT thumbnail_sha256 FROM lalafo.photos")
    store = PhotoStore(environment.settings.resolved_store_url)
    assert store.get("thumbnails", thumbnail)[:2] == b"\xff\xd8"


def test_a_photo_lost_from_the_store_stops_nothing(
    environment: Live, instance: dg.DagsterInstance
) -> None:
    """The other photos are embedded."""
    urls = [environment.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(3)]
    environment.publish(*(ad(str(n), [urls[n]]) for n in range(3)))
    environment.drain()
    (lost,), *_ = environment.rows("SELECT rendition_sha256 FROM lalafo.photos ORDER BY 1")
    store = environment.settings.home / "store" / "renditions"
    next(store.rglob(f"{lost.hex()}*")).unlink()
    with environment.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.embeddings")
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT count(*) FROM lalafo.embeddings") == [(2,)]


def test_a_lalafo_error_fails_a_run_with_its_own_message(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's failure names the setting, without a traceback of the database driver."""
    monkeypatch.setenv("LALAFO_DATABASE_URL", "postgresql://u@127.0.0.1:9/x")
    monkeypatch.setattr("resources.sessions.group.membership.JOIN_WITHIN_S", 0.0)
    job = defs().get_repository_def().get_job(SESSION_JOB)
    done = job.execute_in_process(instance=instance, partition_key=today(), raise_on_error=False)
    (failure,) = done.get_step_failure_events()
    message = failure.step_failure_data.user_failure_data
    assert message is not None
    assert "LALAFO_DATABASE_URL" in str(message.description)


def poison(monkeypatch: pytest.MonkeyPatch, module: object, name: str, poisoned: object) -> None:
    """Let a function raise an exception if this is among its arguments."""
    original = getattr(module, name)

    def act(*args: Any, **kwargs: Any) -> Any:
        if any(arg == poisoned for arg in args if isinstance(arg, bytes)):
            raise ZeroDivisionError("poison")
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, act)


def metadata_of(instance: dg.DagsterInstance, key: str) -> dict[str, Any]:
    latest = instance.get_latest_materialization_event(dg.AssetKey(key))
    assert latest is not None and latest.asset_materialization is not None
    return {name: item.value for name, item in latest.asset_materialization.metadata.items()}


def test_an_exception_for_one_photo_fails_no_day(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its thumbnail, its embedding, and on the contact sheet; all are counted in metadata."""
    urls = [environment.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(3)]
    environment.publish(*(ad(str(n), [urls[n]]) for n in range(3)))
    environment.drain()
    ((rendition,),) = environment.rows(
        "SELECT p.rendition_sha256 FROM lalafo.photos AS p JOIN lalafo.ad_photos AS ap "
        "ON ap.sha256 = p.sha256 WHERE ap.ad_id = '1'"
    )
    with environment.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions")
        cursor.execute("DELETE FROM lalafo.embeddings")
    data = PhotoStore(environment.settings.resolved_store_url).get("renditions", rendition)
    for module, name in ((photos, "make_thumbnail"), (embed, "prepare"), (io, "BytesIO")):
        poison(monkeypatch, module, name, data)
    assert run_job("rescore_days", instance).success
    assert metadata_of(instance, "ad_photos")["internal_errors"] == {"thumbnails": 1}
    embedded = metadata_of(instance, "photo_embeddings")
    assert (embedded["photos_embedded"], embedded["photos_failed"]) == (2, 1)
    assert "ZeroDivisionError" in embedded["failed"][0]["error"]
    assert metadata_of(instance, "ad_categories")["ads_scored"] == 2
    thumbnails = environment.rows("SELECT count(thumbnail_sha256) FROM lalafo.photos")
    assert thumbnails == [(2,)]
    monkeypatch.undo()
    export(environment.settings, monkeypatch)
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT count(*) FROM lalafo.predictions") == [(3,)]
    assert environment.rows("SELECT count(thumbnail_sha256) FROM lalafo.photos") == [(3,)]


def test_an_exception_for_one_retried_photo_fails_it_alone(
    environment: Live, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are repaired; its failure has the exception's type and place, until it works."""
    urls = [environment.host.url(f"{n}.jpg", path="error") for n in range(3)]
    environment.publish(*(ad(str(n), [urls[n]]) for n in range(3)))
    environment.drain()
    images = [jpeg(noisy(80, 60, n)) for n in range(3)]
    for n in range(3):  # the host works again
        good = environment.photo(f"{n}.jpg", images[n])
        with environment.database.cursor() as cursor:
            cursor.execute("UPDATE lalafo.ad_photos SET url = %s WHERE ad_id = %s", (good, str(n)))
    poison(monkeypatch, loading, "make_rendition", images[1])
    assert run_job("rescore_days", instance).success
    statuses = "SELECT ad_id, status FROM lalafo.ads ORDER BY 1"
    assert environment.rows(statuses) == [("0", "scored"), ("1", "unscored"), ("2", "scored")]
    ((subject, reason, detail),) = environment.rows(
        "SELECT subject, reason, detail FROM lalafo.failures"
    )
    assert (subject, reason) == ("kg/1#0", "internal_error")
    assert detail.startswith("ZeroDivisionError in ") and "poison" not in detail.split(" ")
    assert environment.rows("SELECT reason FROM lalafo.ad_photos WHERE reason IS NOT NULL") == [
        ("internal_error",)
    ]
    found = metadata_of(instance, "ad_photos")
    assert (found["photos_repaired"], found["internal_errors"]) == (2, {"photos": 1})
    monkeypatch.undo()
    export(environment.settings, monkeypatch)
    assert run_job("rescore_days", instance).success
    assert environment.rows("SELECT DISTINCT status FROM lalafo.ads") == [("scored",)]
    assert environment.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
