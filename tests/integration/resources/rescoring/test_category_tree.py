"""Categories that are a tree: a re-score stores what the stream does, nodes above included."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lalafo_assets.bench.rescore.fill import BACKBONE, DAYS, bench_release, fill
from ops.models.categories.tree import Thresholds
from ops.models.release import Head
from ops.scoring.predictions import AdInput, predict_ads
from ops.scoring.ready_release import ReadyRelease
from ops.tasks import task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.postgres.database import Database
from resources.rescoring.embed_and_score import ScoreOptions, score_days

CATEGORY = task_by_name("category")


def quiet(_: object) -> None:
    return None


def with_a_tree(number: int) -> ReadyRelease:
    """A release of the bench with paths as labels, and thresholds that every kind of answer has."""
    release = bench_release(number)
    head = release.heads["category"]
    assert isinstance(head, Head)
    labels = tuple(
        sorted(f"{'абв'[n % 3]} {n % 3}/{n % 7}/вид {n}" for n in range(len(head.labels)))
    )
    config = Thresholds(0.5, 0.6).as_config()
    return replace(release, heads={"category": replace(head, labels=labels, config=config)})


@pytest.fixture
def filled(database: Database) -> Database:
    """400 ads of 1 to 4 photos; the taxonomies of both releases are those of the trees."""
    assert fill(database, rows=1_000, photos_per_ad=2.5, on_progress=quiet) == 400
    with database.cursor() as cursor:
        for release in map(with_a_tree, (0, 1)):
            cursor.execute(
                "UPDATE lalafo.releases SET manifest = manifest || %s::jsonb WHERE name = %s",
                (
                    json.dumps({"taxonomy": {"category": release.heads["category"].labels}}),
                    release.name,
                ),
            )
    return database


def rows(database: Database, query: str, *values: object) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


@pytest.mark.parametrize("number", [0, 1], ids=["live", "other"])
def test_a_re_score_stores_what_the_stream_does(filled: Database, number: int) -> None:
    """Label, score, path and best categories, to the last digit; full answers, nodes above and
    answers that are not sure."""
    release = with_a_tree(number)
    catalogue = Catalogue(filled, run_id="r1")
    options = ScoreOptions(chunk=40)
    assert score_days(catalogue, release, CATEGORY, DAYS, on_progress=quiet, options=options) == 400
    stored = {
        ad_id: (label, score, details)
        for ad_id, label, score, details in rows(
            filled,
            "SELECT ad_id, label, score::float8, details FROM lalafo.predictions_with_details "
            "WHERE release = %s",
            release.name,
        )
    }
    vectors: dict[str, list[np.ndarray]] = {}
    for ad_id, vector in rows(
        filled,
        "SELECT ap.ad_id, e.embedding::text FROM lalafo.ad_photos AS ap "
        "JOIN lalafo.embeddings AS e USING (sha256) WHERE e.backbone = %s "
        "ORDER BY ap.ad_id, ap.position",
        BACKBONE,
    ):
        vectors.setdefault(ad_id, []).append(np.array(json.loads(vector), np.float16))
    kinds = set()
    for ad_id, of_ad in vectors.items():
        (answers,) = predict_ads(release, [CATEGORY], [AdInput(("kg", ad_id), of_ad)])
        (prediction,) = answers.predictions
        assert stored[ad_id] == (prediction.label, prediction.score, prediction.details)
        path = prediction.details["path"]
        assert path in ([], prediction.label.split("/"))
        kinds.add(len(path))
    assert kinds == {0, 1, 2, 3}
