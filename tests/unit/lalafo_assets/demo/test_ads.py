"""The demo's ads: each photo once, labels in turn, what is wrong is wrong on purpose."""

import json

import pytest

from lalafo_assets.demo.ads import LabelledPhoto, broken_messages, make_ads
from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.types import StreamRecord


def photos(per_label: int) -> list[LabelledPhoto]:
    return [
        LabelledPhoto(f"{label}/{n}.jpg", label)
        for label in ("chair", "lamp", "shoe")
        for n in range(per_label)
    ]


def made(count: int, per_label: int, spoilt: tuple[str, ...] = ()) -> list[dict]:
    messages = make_ads(
        photos(per_label),
        count=count,
        catalog="demo",
        url_of=lambda name: f"http://h/{name}",
        corrupt_urls=spoilt,
        seed=3,
    )
    for message in messages:
        record = StreamRecord("ads", 0, 0, 0, message.key, message.value)
        assert len(parse_event(record, EventLimits()).photos) == message.photos
    return [json.loads(message.value) for message in messages]


def test_ads_are_valid_events_of_one_label_each() -> None:
    """1 to 4 photos, all of the ad's label, none used twice."""
    ads = made(30, 40)
    urls = [photo["url"] for ad in ads for photo in ad["photos"]]
    assert len(urls) == len(set(urls))
    assert {len(ad["photos"]) for ad in ads} == {1, 2, 3, 4}
    assert all(ad["category"] in photo["url"] for ad in ads for photo in ad["photos"])
    assert [ad["category"] for ad in ads[:3]] == ["chair", "lamp", "shoe"]


def test_few_photos_make_few_ads() -> None:
    """Never more ads than photos, and none without one."""
    assert len(made(500, 4)) == 12
    assert all(ad["photos"] for ad in made(500, 4))


def test_each_twentieth_ad_brings_a_spoilt_photo() -> None:
    """The spoilt ones come in turn, beside good ones."""
    ads = made(60, 60, spoilt=("http://s/a", "http://s/b"))
    spoilt = [photo["url"] for ad in ads for photo in ad["photos"] if "//s/" in photo["url"]]
    assert spoilt == ["http://s/a", "http://s/b", "http://s/a"]


def test_broken_messages_are_no_events() -> None:
    """Each has another fault."""
    reasons = set()
    for message in broken_messages("demo"):
        with pytest.raises(BadInputError) as caught:
            parse_event(StreamRecord("ads", 0, 0, 0, message.key, message.value), EventLimits())
        reasons.add(caught.value.reason)
    assert len(reasons) == len(broken_messages("demo"))
