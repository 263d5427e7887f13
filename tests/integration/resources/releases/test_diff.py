"""The comparison of two releases: correct counts, also while predictions are missing."""

import hashlib
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from lalafo_assets.assets.release_diff import read_diff, summary
from lalafo_assets.definitions import defs
from ops.errors import NotReadyError
from ops.models.release import Release
from ops.tasks import Task, task_by_name
from resources.dagster.names import RELEASE_DIFF
from resources.postgres.database import Database
from resources.releases.diff import change_bins, compare, examples
from resources.releases.promotion import make_live, promote, propose
from resources.releases.registry import RegisteredRelease
from resources.storage.photos import PhotoStore
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, SECOND, add_ads, add_prediction, judged, known, rows

CATEGORY = task_by_name("category")


@pytest.fixture
def two(
    database: Database, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[RegisteredRelease, RegisteredRelease]:
    """The live release and a candidate: five ads scored by both, one by the live release only."""
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    live = known(database, tmp_path, release)
    make_live(database, live.name)
    add_ads(database, live, {FIRST: 4, SECOND: 3})
    candidate = judged(database, tmp_path, random_release(seed=1))
    propose(database, candidate.name)
    predictions = [  # ad, live, candidate
        ("0301-000", ("chair", 0.9), ("chair", 0.9)),
        ("0301-001", ("chair", 0.5), ("lamp", 0.9)),
        ("0301-002", ("chair", 0.6), ("lamp", 0.8)),
        ("0301-003", ("lamp", 0.7), ("shoe", 0.6)),
        ("0302-000", ("shoe", 0.8), ("shoe", 0.3)),
    ]
    for ad_id, before, after in predictions:
        add_prediction(database, live.name, ad_id, *before, {"price": 100})
        add_prediction(database, candidate.name, ad_id, *after, {"price": 120})
    add_prediction(database, live.name, "0302-001", "lamp", 0.9)
    # of different revisions: not comparable
    add_prediction(database, live.name, "0302-002", "lamp", 0.9)
    add_prediction(database, candidate.name, "0302-002", "shoe", 0.9, revision=2)
    return live, candidate


def test_every_ad_is_counted_once(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease]
) -> None:
    """Ads whose label changes, ads whose label stays, and ads that one release alone has scored."""
    live, candidate = two
    found = compare(database, live=live.name, candidate=candidate.name, tasks=[CATEGORY])
    (task,) = found.tasks
    assert (found.days, found.unscored) == (2, 2)
    assert task.moves == {
        ("chair", "chair"): 1,
        ("chair", "lamp"): 2,
        ("lamp", "shoe"): 1,
        ("shoe", "shoe"): 1,
    }
    assert (task.ads, task.changed, task.only_live) == (5, 3, 2)
    assert task.top_moves(1) == [("chair", "lamp", 2)]
    labels, matrix = task.matrix(30)
    assert labels == ["chair", "lamp", "shoe"]
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]
    assert task.shifts.sum() == 5
    # 0.0, +0.4, +0.2, -0.1, -0.5 in forty bins from -1 to 1: each in a bin of its own
    centres = np.linspace(-0.975, 0.975, 40)
    seen = np.repeat(centres, task.shifts)
    assert np.allclose(sorted(seen), [-0.5, -0.1, 0.0, 0.2, 0.4], atol=0.051)
    assert task.number is None


def test_a_task_s_number_is_compared_as_a_share(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease]
) -> None:
    """A price of 100 that becomes 120 changes by a fifth."""
    live, candidate = two
    priced = Task("category", "ad_categories", "", CATEGORY.predict, number="price")
    (task,) = compare(database, live=live.name, candidate=candidate.name, tasks=[priced]).tasks
    assert task.number is not None
    assert (task.number.ads, task.number.beyond_a_tenth) == (5, 5)
    assert task.number.p50 == pytest.approx(0.2)
    by_bin = dict(zip(change_bins(), task.number.histogram.tolist(), strict=True))
    assert by_bin.pop("+20% to +100%") == 5
    assert set(by_bin.values()) == {0}


def test_examples_cover_every_move_with_the_highest_scores_first(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease]
) -> None:
    live, candidate = two
    names = {"live": live.name, "candidate": candidate.name, "task": "category"}
    found = examples(database, **names, limit=10)
    assert [(e.ad_id, e.live, e.candidate) for e in found] == [
        ("0301-001", "chair", "lamp"),
        ("0301-003", "lamp", "shoe"),
        ("0301-002", "chair", "lamp"),
    ]
    assert [e.ad_id for e in examples(database, **names, limit=2)] == ["0301-001", "0301-003"]
    assert found[0].rendition_sha256 == hashlib.sha256(b"0301-001").digest()


def test_the_asset_shows_numbers_pictures_and_unscored_days(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease], tmp_path: Path
) -> None:
    """Materialized while incomplete; a photo that is missing from the store is left out."""
    live, candidate = two
    store = PhotoStore(str(tmp_path / "store"), fsync=False)
    data = jpeg(noisy(60, 40, 1))
    stored = hashlib.sha256(data).digest()
    store.put("renditions", stored, data)
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.photos SET rendition_sha256 = %s", (stored,))
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs().get_repository_def().get_job("compare_releases")
        assert job.execute_in_process(instance=instance).success
        event = instance.get_latest_materialization_event(RELEASE_DIFF)
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["live"].value, metadata["candidate"].value) == (live.name, candidate.name)
    assert (metadata["days"].value, metadata["days_unscored"].value) == (2, 2)
    assert (metadata["category_ads"].value, metadata["category_changed"].value) == (5, 3)
    assert "| chair | lamp | 2 |" in str(metadata["category_moves"].value)
    for name in ("category_matrix", "category_score_shift"):
        assert "data:image/png" in str(metadata[name].value)
    assert "data:image/jpeg" in str(metadata["category_examples"].value)


def test_after_a_promotion_the_asset_names_the_releases_by_their_roles(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease]
) -> None:
    """What was the candidate is the live release now, and must not be called the other way."""
    before, now = two
    promote(database, now.name, scored_topic="ads.scored", allow_partial=True)
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs().get_repository_def().get_job("compare_releases")
        assert job.execute_in_process(instance=instance).success
        event = instance.get_latest_materialization_event(RELEASE_DIFF)
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["previous"].value, metadata["live"].value) == (before.name, now.name)
    assert "candidate" not in metadata
    assert "| previous | live | ads |" in str(metadata["category_moves"].value)


def test_without_a_candidate_there_is_nothing_to_compare(
    database: Database, two: tuple[RegisteredRelease, RegisteredRelease]
) -> None:
    live, candidate = two
    lines = summary(read_diff(database))
    assert lines[0].startswith("category: 3 of 5 ads change their label (60.0%)")
    assert lines[1] == f"not complete: 2 of 2 days are unscored under {candidate.name}"
    make_live(database, live.name)
    with pytest.raises(NotReadyError, match="only active release"):
        read_diff(database)
    assert rows(database, "SELECT candidate FROM lalafo.active_releases") == [(None,)]
