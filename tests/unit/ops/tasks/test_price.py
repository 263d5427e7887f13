"""The task `price` on generated ads of known noise: ranges, positions, and why there is none."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from lalafo_assets.bench.all_tasks.priced_ads import ABSURD_EVERY, generated_ads
from ops.errors import ConfigurationError
from ops.models.task_head import TaskHead
from ops.tasks import Ad, price
from ops.tasks.contract.answer import as_prediction
from ops.tasks.price import PriceAnswer
from ops.types import Prediction

ADS = generated_ads(900, seed=3)
TRAIN, HELD_OUT = ADS[:600], ADS[600:]


@pytest.fixture(scope="module")
def fitted() -> tuple[TaskHead, dict]:
    return price.fit_ads(TRAIN, groups=[str(i) for i in range(len(TRAIN))])


def changed(ad: Ad, **fields: object) -> Ad:
    return replace(ad, fields=replace(ad.fields, **fields))


def plausible() -> Ad:
    return next(ad for ad in HELD_OUT if int(ad.fields.ad_id) % ABSURD_EVERY)


def answer(head: TaskHead, ad: Ad) -> PriceAnswer:
    (found,) = price.predict_ads([ad], head)
    return found


@pytest.mark.slow
def test_ranges_are_nearer_than_the_categorys_median_and_cover_as_promised(fitted) -> None:
    """On held-out ads of six categories in two currencies; 300 ads: 80 % within 3 deviations."""
    head, _ = fitted
    measures = price.judge(price.predict_ads(HELD_OUT, head), HELD_OUT)
    assert measures["mape"] < 0.7 * measures["baseline_mape"]
    assert measures["coverage"] == pytest.approx(0.8, abs=3 * 0.4 / np.sqrt(len(HELD_OUT)))
    assert measures["answered"] == 1
    assert measures["count"] < len(HELD_OUT)  # the absurd prices are not judged by


def test_absurd_prices_are_counted_by_reason(fitted) -> None:
    """Of 600 ads 15 are absurd: zero, 1, and 123456789012, which is far outside."""
    _, metrics = fitted
    counts: dict[str, int] = {}
    for of in metrics["currencies"].values():
        for reason, count in of["set_aside"].items():
            counts[reason] = counts.get(reason, 0) + count
    assert counts["price_not_positive"] == 5
    assert counts["price_far_outside_of_category"] >= 9


def test_the_asked_price_is_no_input(fitted) -> None:
    """Whatever is asked, the range is the same; only the position in it changes."""
    head, _ = fitted
    ad = plausible()
    found = answer(head, ad)
    for asked in ("1", str(found.low), str(found.high), "999999999"):
        other = answer(head, changed(ad, price=Decimal(asked)))
        assert (other.low, other.middle, other.high) == (found.low, found.middle, found.high)


@pytest.mark.parametrize(
    ("factor", "label", "reason"),
    [
        (0.02, "below", None),
        (1.0, "within", None),
        (50.0, "above", None),
        (1e-4, "implausible", "price_implausible"),
        (1e4, "implausible", "price_implausible"),
    ],
)
def test_the_position_of_the_asked_price(fitted, factor, label, reason) -> None:
    """Within the range at its middle; a hundred times off is no offer."""
    head, _ = fitted
    ad = plausible()
    middle = answer(head, ad).middle
    asked = Decimal(f"{factor * middle:.2f}")
    found = answer(head, changed(ad, price=asked))
    assert (found.label, found.reason) == (label, reason)
    assert found.position == (label if reason is None else None)
    assert found.asked == float(asked)


@pytest.mark.parametrize(
    ("fields", "label", "reason"),
    [
        ({"price": None}, "no price", "no_price"),
        ({"price": Decimal(0)}, "implausible", "price_not_positive"),
        ({"currency": None}, "no range", "no_currency"),
        ({"currency": "  "}, "no range", "no_currency"),
        ({"currency": "¤¤¤"}, "no range", "unknown_currency"),
        ({"currency": None, "price": None}, "no range", "no_currency"),
        ({"category": "boats/sails"}, "no range", "few_ads_in_category"),
    ],
)
def test_what_is_missing_is_named(fitted, fields, label, reason) -> None:
    """Too little known: no range; and the answer can be stored."""
    head, _ = fitted
    found = answer(head, changed(plausible(), **fields))
    assert (found.label, found.reason) == (label, reason)
    assert (found.low is None) == (label == "no range")
    assert as_prediction("price", found).details["reason"] == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "", "description": "", "attributes": {}},
        {"title": "ひとりがけのソファー 🛋 أريكة", "description": "\n" * 50_000},
        {"attributes": {"area": 1e14, "other": -1e14}},
        {"category": None},
        {"currency": "usd"},
        {"category": "furniture/chairs/with arms"},
    ],
)
def test_odd_fields_have_a_range(fitted, fields) -> None:
    """Empty texts, other scripts, unknown attributes, a deeper category, no category."""
    found = answer(fitted[0], changed(plausible(), **fields))
    assert 0 < found.low <= found.middle <= found.high


def test_without_a_sellers_category_that_of_the_photos_counts(fitted) -> None:
    """Unless no answer of that task is sure."""
    head, _ = fitted
    ad = changed(plausible(), category=None)
    chair = Prediction("category", "furniture/chairs", 0.9, {"path": ["furniture", "chairs"]})
    unsure = replace(chair, details={"path": []})
    by_photos = answer(head, replace(ad, answers={"category": chair}))
    assert by_photos.middle == answer(head, changed(ad, category="furniture/chairs")).middle
    assert answer(head, replace(ad, answers={"category": unsure})) == answer(head, ad)


def test_an_answer_does_not_depend_on_the_other_ads(fitted) -> None:
    """The stream predicts one ad, a re-score a chunk: equal to the last digit."""
    head, _ = fitted
    chunk = price.predict_ads(HELD_OUT[:60], head)
    assert [answer(head, ad) for ad in HELD_OUT[:60]] == chunk


def test_the_same_ads_give_the_same_head(fitted) -> None:
    """The tensors and the settings, whatever was fitted before."""
    again, _ = price.fit_ads(TRAIN, groups=[str(i) for i in range(len(TRAIN))])
    head, _ = fitted
    assert again.config == head.config
    assert all((again.tensors[name] == tensor).all() for name, tensor in head.tensors.items())


def test_embeddings_of_another_backbone_are_refused(fitted) -> None:
    """By name, before anything is computed."""
    ad = plausible()
    other = replace(ad, embeddings=np.zeros((1, 8), np.float16))
    with pytest.raises(ConfigurationError, match="length 96, got 8"):
        answer(fitted[0], other)


def test_too_few_ads_of_a_currency_are_not_learned_from() -> None:
    """Nothing is learned where none has enough; the message has the largest."""
    with pytest.raises(ConfigurationError, match=r"needs 50 ads .*KGS has most, "):
        price.fit_ads(ADS[:40], groups=[str(i) for i in range(40)])
    with pytest.raises(ConfigurationError, match="none has a price"):
        price.fit_ads([], groups=[])
    with pytest.raises(ConfigurationError, match="20 different goods"):
        price.fit_ads(ADS[:200], groups=["one"] * 200)


def test_an_ad_is_learned_from_if_it_has_a_price_in_a_currency() -> None:
    """Absurd ones are set aside later, with a reason."""
    fields = plausible().fields
    assert price.learns_from(fields)
    assert not price.learns_from(replace(fields, price=None))
    assert not price.learns_from(replace(fields, currency=" "))
