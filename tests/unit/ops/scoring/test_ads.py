"""Scoring: every photo is usable or a failure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ops.errors import Reason
from ops.outcomes import StageTimes
from ops.scoring.ads import AdScorer, LoadedAd, LoadedPhotos
from ops.scoring.ready_release import ReadyRelease
from ops.tasks import all_tasks
from ops.types import AdStatus, EventKind, Failure, PhotoRef
from tests.support.batches import event, receipt, rendition, sha
from tests.support.tiny_release import SURE, TinyBackbone, tiny_photo, tiny_release


def scorer(*releases: ReadyRelease) -> AdScorer:
    return AdScorer(releases or (tiny_release("r1"),), tuple(all_tasks()))


def loaded(
    ad_id: str,
    urls: Sequence[str],
    *,
    backbones: Sequence[str] = ("b1",),
    known: dict[str, np.ndarray] | None = None,
    stored: bool = True,
    **changes: object,
) -> LoadedAd:
    """An ad whose photos were loaded for these backbones."""
    refs = tuple(PhotoRef(url=url) for url in urls)
    photos = {ref: tiny_photo(str(ref.url), backbones, known=known, stored=stored) for ref in refs}
    of = replace(event(ad_id, **changes), photos=refs)
    return LoadedAd(of, receipt(), LoadedPhotos(photos, fetch_ms=3.0, photos_ms=4.0), 5.0)


def test_an_ad_is_scored_on_its_usable_photos() -> None:
    """Failed photos keep their reasons; the status depends on the usable ones; order is kept."""
    scored = scorer().score(
        [
            loaded("1", ["dark-1", "bad-1"]),
            loaded("2", ["bad-2"]),
            loaded("3", []),
            loaded("4", [], kind=EventKind.DELETED),
        ]
    )
    assert [(ad.event.key.ad_id, ad.status) for ad in scored.ads] == [
        ("1", AdStatus.SCORED),
        ("2", AdStatus.UNSCORED),
        ("3", AdStatus.NO_PHOTOS),
        ("4", AdStatus.DELETED),
    ]
    (prediction,) = scored.ads[0].predictions["r1"]
    assert prediction.label == "dark"
    assert all(ad.predictions["r1"] == () for ad in scored.ads[1:])
    first, second = scored.ads[0].photos
    assert (first.sha256, first.failure) == (sha("dark-1"), None)
    assert second.failure == Failure(Reason.FETCH_NOT_FOUND, "no such photo")


def test_a_score_is_the_mean_over_the_distinct_photos() -> None:
    """A photo that an ad lists twice counts once: 2 bright against 1 dark, not 2 against 2."""
    scored = scorer().score([loaded("1", ["dark-1", "dark-1", "bright-1", "bright-2"])])
    (prediction,) = scored.ads[0].predictions["r1"]
    assert prediction.label == "bright"
    assert np.isclose(prediction.score, (2 * SURE + (1 - SURE)) / 3, atol=1e-5)
    assert len(scored.ads[0].photos) == 4, "each keeps its position"


def test_releases_that_share_a_backbone_embed_once() -> None:
    """Two heads need one pass, another backbone its own; a photo that ads share is embedded
    once."""
    shared, other = TinyBackbone(), TinyBackbone()
    scored = scorer(
        tiny_release("r1", "b1", shared),
        tiny_release("r2", "b1", shared, ("night", "day")),
        tiny_release("r3", "b2", other, ("x", "y")),
    ).score(
        [
            loaded("1", ["dark-1", "bright-1"], backbones=("b1", "b2")),
            loaded("2", ["dark-1"], backbones=("b1", "b2")),
        ]
    )
    assert (sum(shared.calls), sum(other.calls)) == (2, 2)
    embedded = [(item.backbone, item.sha256) for item in scored.embeddings]
    assert sorted(embedded) == sorted(
        (backbone, sha(url)) for backbone in ("b1", "b2") for url in ("dark-1", "bright-1")
    )
    labels = {name: items[0].label for name, items in scored.ads[1].predictions.items()}
    assert labels == {"r1": "dark", "r2": "night", "r3": "x"}


def test_a_stored_vector_is_used_and_not_computed_again() -> None:
    """Only the vectors that PostgreSQL does not have are computed."""
    known, missing = TinyBackbone(), TinyBackbone()
    stored = {"b1": np.array([0, 1], np.float16)}  # that of a bright photo, whatever the pixels
    scored = scorer(tiny_release("r1", "b1", known), tiny_release("r2", "b2", missing)).score(
        [loaded("1", ["dark-1"], backbones=("b1", "b2"), known=stored)]
    )
    assert sum(known.calls) == 0
    assert [(item.backbone, item.release) for item in scored.embeddings] == [("b2", "r2")]
    labels = {name: items[0].label for name, items in scored.ads[0].predictions.items()}
    assert labels == {"r1": "bright", "r2": "dark"}


def test_only_new_photos_have_a_rendition_to_store() -> None:
    """A photo that has a row, or is a failure, has none."""
    photos = {
        PhotoRef(url=url): tiny_photo(url, ["b1"], stored=url != "dark-1")
        for url in ("dark-1", "dark-2", "bad-1")
    }
    assert LoadedPhotos(photos).renditions == {PhotoRef(url="dark-1"): rendition(sha("dark-1"))}


def test_an_ad_is_ready_for_the_backbones_that_its_photos_were_prepared_for() -> None:
    """A release with another backbone must not get a photo without its image or vector."""
    vector = {"b2": np.array([1, 0], np.float16)}
    ad = loaded("1", ["dark-1", "bad-1"], backbones=("b1",), known=vector)
    assert ad.ready_for(["b1", "b2"])
    assert not ad.ready_for(["b1", "b3"])
    assert loaded("2", ["bad-1"]).ready_for(["b3"]), "a photo that failed needs nothing"


def test_times_are_those_of_the_ads_stages() -> None:
    """Times measured before the model are passed on; the model adds its own."""
    (ad,) = scorer().score([loaded("1", ["dark-1"]).queued(7.0)]).ads
    assert (ad.times.fetch_ms, ad.times.photos_ms, ad.times.queued_ms) == (3.0, 4.0, 7.0)
    assert ad.times != StageTimes(3.0, 4.0, 7.0), "the model's time is missing"


def test_no_ads_give_no_results() -> None:
    """An empty call does not use the model."""
    backbone = TinyBackbone()
    scored = scorer(tiny_release("r1", embedder=backbone)).score([])
    assert (scored.ads, scored.embeddings) == ((), ())
    assert sum(backbone.calls) == 0
