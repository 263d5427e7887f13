"""What a release's manifest says about the photos that it has learned from."""

from dataclasses import replace

from lalafo_assets.starter import load_starter
from ops.training.provenance import (
    DRAWN_CATALOG,
    count_by_origin,
    learned_from_drawn_photos,
    training_photos,
)

STARTER = load_starter().manifest


def test_the_shipped_release_has_seen_drawn_photos_only() -> None:
    """Its manifest was made before the fact was stored."""
    assert "training_photos" not in STARTER.metrics
    assert learned_from_drawn_photos(STARTER)


def test_photos_are_counted_once_by_their_catalog() -> None:
    """However many ads and tasks have a photo."""
    drawn = f"{DRAWN_CATALOG}01"
    photos = [(drawn, b"a"), (drawn, b"b"), (drawn, b"a"), ("kg", b"c")]
    assert count_by_origin(photos) == {"drawn": 2, "real": 1}
    assert count_by_origin([]) == {"drawn": 0, "real": 0}


def test_one_real_photo_is_inherited() -> None:
    """A release that continues one which has seen real photos has seen them too."""
    seen = replace(STARTER, metrics=training_photos(drawn=5, real=2, continues=STARTER))
    assert not learned_from_drawn_photos(seen)
    after = replace(STARTER, metrics=training_photos(drawn=5, real=0, continues=seen))
    assert not learned_from_drawn_photos(after)
    only = replace(STARTER, metrics=training_photos(drawn=5, real=0, continues=STARTER))
    assert learned_from_drawn_photos(only)
