"""Training sets: the split has no leakage, and the same rows give the same bytes."""

import hashlib
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.near_duplicates import near_duplicate_groups
from ops.tasks import AdFields
from ops.training.dataset import (
    LabelledPhoto,
    SplitRule,
    TrainingSet,
    digest_of,
    freeze,
    unknown_to,
)
from ops.training.splits import split_for_growth
from ops.training.taught_ads import TaughtAd, unknown_ads


def sha(text):
    return hashlib.sha256(text.encode()).digest()


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def labelled(number, photo=None, label=None, source="seller"):
    photo = f"photo {number}" if photo is None else photo
    return LabelledPhoto(
        task="category",
        catalog="kg",
        ad_id=str(number),
        sha256=sha(photo),
        rendition_sha256=sha(f"rendition of {photo}"),
        revision=1,
        label=("chair", "lamp", "shoe")[number % 3] if label is None else label,
        source=source,
    )


def rows_of(count, seed=0):
    """Different photos, with the large common component that a backbone's features have."""
    rng = np.random.default_rng(seed)
    return unit(5 + rng.normal(size=(count, 32)))


def test_near_duplicates_are_grouped_and_different_photos_are_not():
    """A copy with a little noise joins its original, also transitively, with any block size."""
    rows = rows_of(300).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(2, 32), scale=0.004)
    rows[10] = rows[200] + noise[0]
    rows[299] = rows[10] + noise[1]
    plain = rows @ rows.T / np.outer(*2 * [np.linalg.norm(rows, axis=1)])
    assert np.median(plain) > 0.9  # the cosine without centring would join everything
    for block_pairs in (300, 7_000, 2**24):
        groups = near_duplicate_groups(unit(rows), threshold=0.975, block_pairs=block_pairs)
        assert groups[10] == groups[200] == groups[299] == 10
        assert len(set(groups.tolist())) == 298


def test_equal_rows_and_no_rows():
    """Thousands of copies of a photo are one group; no rows give none."""
    copies = np.tile(rows_of(1), (4_000, 1))
    copies[2_000:] = rows_of(2)[1]
    assert set(near_duplicate_groups(copies, threshold=0.9).tolist()) == {0, 2_000}
    assert len(near_duplicate_groups(rows_of(0), threshold=0.9)) == 0
    with pytest.raises(ConfigurationError, match="threshold"):
        near_duplicate_groups(rows_of(2), threshold=0.0)


def test_groups_are_those_of_a_plain_search():
    """The groups equal those of a graph search over all pairs."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, 16))
    rows = unit(centres[rng.integers(0, 40, 200)] + rng.normal(size=(200, 16), scale=0.25))
    groups = near_duplicate_groups(rows, threshold=0.93, block_pairs=999)
    scaled = rows.astype(np.float64)
    scaled = scaled - scaled.mean(axis=0)
    scaled /= scaled.std(axis=0)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    near = scaled @ scaled.T >= 0.93
    expected = [-1] * 200
    for start in range(200):
        todo = [start] if expected[start] < 0 else []
        while todo:
            row = todo.pop()
            if expected[row] < 0:
                expected[row] = start
                todo += np.flatnonzero(near[row]).tolist()
    assert groups.tolist() == expected
    assert 20 < len(set(expected)) < 180


def test_a_near_duplicate_pair_is_never_split():
    """With any seed, an ad, a photo that ads share, and near duplicates stay together."""
    count = 120
    rows = rows_of(count).astype(np.float32)
    pairs = [(n, n + 60) for n in range(0, 60, 3)]
    for one, other in pairs:
        rows[other] = rows[one] + np.random.default_rng(one).normal(size=32, scale=0.002)
    photos = [labelled(n, photo="shared" if n in (1, 50) else None) for n in range(count)]
    photos += [LabelledPhoto("category", "kg", "2", sha("x"), sha("r"), 1, "lamp", "seller")]
    rows = unit(np.concatenate([rows, rows_of(1, seed=9)]))
    sides = Counter()
    for seed in range(12):
        frozen = freeze(photos, rows, backbone="b", rule=SplitRule(seed=seed))
        part = {(e.photo.ad_id, e.photo.sha256): e.part for e in frozen.examples}
        by_ad = {e.photo.ad_id: e.part for e in frozen.examples}
        assert all(by_ad[str(one)] == by_ad[str(other)] for one, other in pairs)
        assert by_ad["1"] == by_ad["50"]
        assert part["2", sha("x")] == part["2", sha("photo 2")]
        sides.update(by_ad[str(one)] for one, _ in pairs)
    assert min(sides["train"], sides["held_out"]) > 12  # pairs fall on either side


def test_the_split_is_stable_while_the_set_grows():
    """A photo stays in its part when thousands are added, and about a fifth is held out."""
    contents = [sha(str(n)) for n in range(4_000)]
    labels = [f"class {n % 4}" for n in range(4_000)]

    def held_out(count):
        split, _ = split_for_growth(
            labels[:count], joined_by=[list(range(count))], contents=contents[:count]
        )
        return set(split.held_out.tolist())

    small, large = held_out(400), held_out(4_000)
    assert small == {n for n in large if n < 400}
    assert 0.18 < len(large) / 4_000 < 0.22


def test_labels_with_few_groups_are_trained_on():
    """A label with one group is trained on; one with two groups has one in each part."""
    for seed in range(20):
        split, groups = split_for_growth(
            ["hat", "hat", "shoe", "shoe"],
            joined_by=[["a", "a", "b", "c"]],
            contents=[bytes([n]) * 32 for n in range(4)],
            seed=seed,
        )
        assert {0, 1} <= set(split.train.tolist())
        assert len(split.held_out) == 1
        assert groups[0] == groups[1] == bytes(32)


def test_a_split_rejects_invalid_arguments():
    """Lengths that differ, and a share out of range."""
    with pytest.raises(ConfigurationError, match="as many"):
        split_for_growth(["a"], joined_by=[["x", "y"]], contents=[b"1"])
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        split_for_growth(["a"], joined_by=[["x"]], contents=[b"1"], held_out=1.0)


def test_the_same_rows_give_the_same_digest():
    """In any order of rows; another label or another seed gives another digest."""
    photos, rows = [labelled(n) for n in range(60)], rows_of(60)
    first = freeze(photos, rows, backbone="b", rule=SplitRule())
    order = list(range(60))
    random.Random(1).shuffle(order)
    again = freeze([photos[n] for n in order], rows[order], backbone="b", rule=SplitRule())
    assert digest_of(again.to_bytes()) == digest_of(first.to_bytes())
    photos[3] = labelled(3, label="lamp", source="person")
    changed = freeze(photos, rows, backbone="b", rule=SplitRule())
    assert digest_of(changed.to_bytes()) != digest_of(first.to_bytes())
    other = freeze(photos, rows, backbone="b", rule=SplitRule(seed=1))
    assert digest_of(other.to_bytes()) != digest_of(changed.to_bytes())


def test_a_set_is_read_as_it_was_written():
    """Every field is read back; anything else is an error."""
    frozen = freeze(
        [labelled(n, source="person" if n == 4 else "seller") for n in range(30)],
        rows_of(30),
        backbone="b",
        rule=SplitRule(seed=3),
    )
    data = frozen.to_bytes()
    assert TrainingSet.from_bytes(data) == frozen
    assert frozen.tasks == ("category",)
    for bad in (b"", b"{}", data[: len(data) // 2], data.replace(b'held_out"', b'elsewhere"')):
        with pytest.raises(ConfigurationError, match="not a training set"):
            TrainingSet.from_bytes(bad)


def test_a_set_of_an_earlier_version_is_read():
    """Sets that are in the store already have the group under the key "piece"."""
    frozen = freeze(
        [labelled(n) for n in range(30)], rows_of(30), backbone="b", rule=SplitRule(seed=3)
    )
    earlier = frozen.to_bytes().replace(b'"group":', b'"piece":')
    assert earlier != frozen.to_bytes()
    assert TrainingSet.from_bytes(earlier) == frozen


def test_contaminated_examples_are_left_out():
    """Where an ad or photo of a group was trained on, all photos of the group are left out."""
    photos, rows = [labelled(n) for n in range(200)], rows_of(200)
    own = freeze(photos, rows, backbone="b", rule=SplitRule())
    other = freeze(photos, rows, backbone="b", rule=SplitRule(seed=1))
    held_out = [e for e in own.examples if e.part == "held_out"]
    remaining, left_out = unknown_to(held_out, [own, other])
    assert len(remaining) + left_out == len(held_out)
    trained = {e.photo.sha256 for e in other.examples if e.part == "train"}
    assert 0 < len(remaining) < len(held_out)
    assert {e.photo.sha256 for e in remaining} == {e.photo.sha256 for e in held_out} - trained
    assert unknown_to(held_out, [own]) == (held_out, 0)


def test_a_photo_that_was_trained_on_in_another_ad_is_contaminated():
    """The photo of a deleted ad was trained on: the same photo in a new ad is left out."""
    rows = rows_of(40)
    earlier = freeze([labelled(n) for n in range(40)], rows, backbone="b", rule=SplitRule())
    trained = [e.photo for e in earlier.examples if e.part == "train"]
    photos = [labelled(100 + n) for n in range(40)]
    held_out = [
        e
        for e in freeze(photos, rows_of(40, seed=1), backbone="b", rule=SplitRule()).examples
        if e.part == "held_out"
    ]
    reused = replace(held_out[0], photo=replace(held_out[0].photo, sha256=trained[0].sha256))
    assert unknown_to([reused, *held_out[1:]], [earlier]) == (held_out[1:], 1)


def taught(number, *photos):
    """An ad with a price, attributes and these photos."""
    at = datetime(2026, 5, 1, 12, 0, 0, 123, tzinfo=UTC)
    fields = AdFields(
        *("kg", str(number), "Стул 🪑", "", None, Decimal("12.50"), "KGS", at, at),
        attributes={"year": 2019.0},
    )
    return TaughtAd(fields, 7, tuple((sha(it), sha(f"rendition of {it}")) for it in photos))


def frozen_with_ads(seed=0):
    """Labelled photos, and ads of which some share a photo with them or with each other."""
    photos = [labelled(n) for n in range(200)]
    ads = [taught(1_000 + n, f"photo {n}", f"new {n % 90}") for n in range(100)]
    vectors = dict(zip([sha(f"new {n}") for n in range(90)], rows_of(90, 5), strict=True))
    order = random.Random(seed).sample(range(200), 200)
    rows = rows_of(200)
    return freeze(
        [photos[i] for i in order],
        rows[order],
        backbone="b",
        rule=SplitRule(),
        ads=random.Random(seed).sample(ads, 100),
        vectors=vectors,
    )


def test_ads_are_split_with_the_photos_and_come_back_equal():
    """No photo is on both sides, of labels and ads together; the order changes nothing."""
    found = frozen_with_ads()
    assert frozen_with_ads(seed=1).to_bytes() == found.to_bytes()
    assert TrainingSet.from_bytes(found.to_bytes()) == found
    sides = {part: set() for part in ("train", "held_out")}
    for example in found.examples:
        sides[example.part].add(example.photo.sha256)
    for example in found.ads:
        sides[example.part] |= {photo for photo, _ in example.ad.photos}
    assert not sides["train"] & sides["held_out"]
    assert 5 <= len(found.ads_of("held_out")) <= 40
    assert found.renditions[sha("new 3")] == sha("rendition of new 3")


def test_a_set_without_ads_has_the_bytes_that_it_had():
    """Before there were tasks that learn from ads; a damaged one is refused."""
    photos = [labelled(n) for n in range(9)]
    data = freeze(photos, rows_of(9), backbone="b", rule=SplitRule()).to_bytes()
    assert b'"ads"' not in data
    whole = frozen_with_ads().to_bytes()
    for damaged in (
        whole[: whole.rindex(b"{")],
        whole.replace(b'"ads":100', b'"ads":99'),
        whole.replace(b'"attributes":{"year":2019.0}', b'"attributes":7'),
    ):
        with pytest.raises(ConfigurationError, match="not a training set"):
            TrainingSet.from_bytes(damaged)


def test_ads_that_a_release_was_trained_on_are_left_out():
    """With their group: an ad by its key, and one by its photo."""
    found = frozen_with_ads()
    held_out = found.ads_of("held_out")
    assert unknown_ads(held_out, found.ads_of("train")) == held_out
    seen = replace(held_out[0], part="train")
    rest = unknown_ads(held_out, [seen])
    assert rest == [e for e in held_out if e.group != seen.group]
    other = replace(seen, ad=replace(taught(9), photos=seen.ad.photos[:1]))
    assert unknown_ads(held_out, [other]) == rest
