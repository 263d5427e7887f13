"""Ads that the demo posts again: the same photos, altered, of another seller."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from lalafo_assets.demo.ads import LabelledPhoto, make_ads
from lalafo_assets.demo.reposts import ALTERATIONS, SELLER, make_reposts
from ops.events.parse import EventLimits, parse_event
from ops.types import StreamRecord
from tests.support.detailed_photos import detailed_photo


def test_they_are_valid_ads_with_altered_photos(tmp_path: Path) -> None:
    """Each alteration once; ids follow those of the ads; none has a photo that is corrupt."""
    photos = [LabelledPhoto(f"{number}.jpg", "chair") for number in range(30)]
    for number, photo in enumerate(photos):
        Image.fromarray(detailed_photo(number)).save(tmp_path / photo.name)
    ads = make_ads(
        photos,
        count=12,
        catalog="demo",
        url_of=lambda name: f"http://photos/{name}",
        corrupt_urls=["http://corrupt/1.jpg"],
        seed=1,
    )
    paths = {f"http://photos/{it.name}": tmp_path / it.name for it in photos}
    found = make_reposts(
        ads, paths=paths, folder=tmp_path / "again", url_of=lambda name: f"http://again/{name}"
    )
    assert len(found) == len(ALTERATIONS)
    known = [json.loads(message.value) for message in ads]
    for number, message in enumerate(found):
        again = json.loads(message.value)
        record = StreamRecord("ads", 0, number, 0, message.key, message.value)
        assert parse_event(record, EventLimits()).key.ad_id == f"{len(ads) + number:06d}"
        assert message.key.decode() == f"demo/{again['ad_id']}"
        assert again["seller"] == SELLER
        (first,) = [it for it in known if it["title"] == again["title"] and _same(it, again)]
        assert len(first["photos"]) == len(again["photos"]) == message.photos
        for photo in again["photos"]:
            name = photo["url"].removeprefix("http://again/")
            assert np.asarray(Image.open(tmp_path / "again" / name)).ndim == 3


def _same(one: dict, other: dict) -> bool:
    return all(one[name] == other[name] for name in ("price", "attributes", "category"))
