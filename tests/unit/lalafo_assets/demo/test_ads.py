"""The demo's ads: each photo is used once, labels alternate, and some are invalid on purpose."""

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


def events(count: int, per_label: int, corrupt: tuple[str, ...] = ()) -> list[dict]:
    messages = make_ads(
        photos(per_label),
        count=count,
        catalog="demo",
        url_of=lambda name: f"http://h/{name}",
        corrupt_urls=corrupt,
        seed=3,
    )
    for message in messages:
        record = StreamRecord("ads", 0, 0, 0, message.key, message.value)
        assert len(parse_event(record, EventLimits()).photos) == message.photos
    return [json.loads(message.value) for message in messages]


def test_ads_are_valid_events_of_one_label_each() -> None:
    """1 to 4 photos, all of the ad's label, none used twice."""
    ads = events(30, 40)
    urls = [photo["url"] for ad in ads for photo in ad["photos"]]
    assert len(urls) == len(set(urls))
    assert {len(ad["photos"]) for ad in ads} == {1, 2, 3, 4}
    assert all(ad["category"] in photo["url"] for ad in ads for photo in ad["photos"])
    assert [ad["category"] for ad in ads[:3]] == ["chair", "lamp", "shoe"]


def test_few_photos_make_few_ads() -> None:
    """There are never more ads than photos, and each ad has a photo."""
    assert len(events(500, 4)) == 12
    assert all(ad["photos"] for ad in events(500, 4))


def test_every_twentieth_ad_has_a_corrupt_photo() -> None:
    """The corrupt photos alternate, in addition to valid ones."""
    ads = events(60, 60, corrupt=("http://s/a", "http://s/b"))
    corrupt = [photo["url"] for ad in ads for photo in ad["photos"] if "//s/" in photo["url"]]
    assert corrupt == ["http://s/a", "http://s/b", "http://s/a"]


def test_broken_messages_are_not_valid_events() -> None:
    """Each has a different fault."""
    reasons = set()
    for message in broken_messages("demo"):
        with pytest.raises(BadInputError) as caught:
            parse_event(StreamRecord("ads", 0, 0, 0, message.key, message.value), EventLimits())
        reasons.add(caught.value.reason)
    assert len(reasons) == len(broken_messages("demo"))


def test_photos_without_labels_have_an_ad_each() -> None:
    """The ads have no category, so that nothing counts as right or wrong."""
    messages = make_ads(
        [LabelledPhoto(f"{n}.jpg", "") for n in range(5)],
        count=9,
        catalog="demo",
        url_of=lambda name: f"http://h/{name}",
        corrupt_urls=(),
        seed=3,
    )
    records = [StreamRecord("ads", 0, 0, 0, m.key, m.value) for m in messages]
    ads = [parse_event(record, EventLimits()) for record in records]
    assert [len(ad.photos) for ad in ads] == [1] * 5
    assert {ad.category for ad in ads} == {None}
    assert all(ad.title.startswith("a photo, ") for ad in ads)


def test_the_title_of_a_nested_category_has_its_last_part() -> None:
    """The category is the whole path."""
    (message,) = make_ads(
        [LabelledPhoto("clothing/dresses/1.jpg", "clothing/dresses")],
        count=1,
        catalog="demo",
        url_of=lambda name: f"http://h/{name}",
        corrupt_urls=(),
        seed=3,
    )
    event = json.loads(message.value)
    assert event["category"] == "clothing/dresses"
    assert event["title"].startswith("dresses, ")
