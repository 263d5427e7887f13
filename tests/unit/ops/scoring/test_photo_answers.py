"""Photos are answered once, a fresh answer equals a stored one, and faults stay with photos."""

import json

import numpy as np
import pytest
from pydantic import Field

from ops.errors import Reason
from ops.models.task_head import TaskHead
from ops.scoring.photo_answers import PhotoInput, answer_photos, combined
from ops.tasks import Answer, Inputs, Scope, Task
from ops.tasks.contract.answer import answer_of, as_prediction
from ops.types import Failure, Prediction

SMALL = np.zeros((2, 3, 3), np.uint8)


class OfPhoto(Answer):
    """An answer with everything that JSON changes."""

    pair: tuple[int, float] = Field(description="A tuple.")
    shares: dict[str, float] = Field(description="In an order.")


class OfAd(Answer):
    """What was combined."""

    got: list[str] = Field(description="Each photo's answer.")


def a_task(predict, combine=None):
    return Task(
        *("sizes", "photo_sizes", "Sizes."),
        answer=OfAd,
        photo_answer=OfPhoto,
        inputs=Inputs(rendition=True),
        predict_photos=predict,
        combine=together if combine is None else combine,
        scope=Scope.PHOTO,
    )


def together(answers, places):
    got = [
        "none" if it is None else f"{it.shares} {it.score} {place.sha256[:2]}@{place.position}"
        for it, place in zip(answers, places, strict=True)
    ]
    return OfAd(label="all", score=1, got=got)


def shares(photos, head):
    return [
        OfPhoto(label="x", score=1 / 3, pair=(1, 0.1), shares={"zz": 0.1, "b": 1e-7, "a": 2})
        for _ in photos
    ]


def photo(number, **more):
    return PhotoInput(bytes([number]) * 32, images={"rendition": SMALL}, **more)


def run(task, photos, faults=None):
    raised = [] if faults is None else faults
    return answer_photos(task, TaskHead("sizes"), photos, lambda *it: raised.append(it))


def test_an_answer_is_the_same_whether_it_was_stored_or_not():
    """Stored: a float32, and JSON whose objects have another order."""
    made = as_prediction("sizes", shares([1], None)[0])
    order = {key: made.details[key] for key in sorted(made.details, reverse=True)}
    order["shares"] = dict(sorted(order["shares"].items()))
    stored = Prediction("sizes", "x", float(np.float32(made.score)), json.loads(json.dumps(order)))
    assert answer_of(OfPhoto, stored) == answer_of(OfPhoto, made)
    fresh, known = photo(1), photo(1, stored={"sizes": stored})
    task = a_task(shares)
    assert run(task, [fresh, known]) == [fresh]
    ads = [combined(task, [it], [0], lambda *_: None) for it in (fresh, known)]
    assert ads[0] == ads[1]
    assert "'a': 2.0, 'b': 1e-07, 'zz': 0.1} 0.333333 01@0" in ads[0].details["got"][0]


def test_a_shared_photo_is_answered_once():
    calls = []

    def predict(photos, head):
        calls.append([it.rendition.shape for it in photos])
        return shares(photos, head)

    one, other = photo(1), photo(2)
    task = a_task(predict)
    assert run(task, [one, other, one, one]) == [one, other]
    assert run(task, [other]) == []
    assert calls == [[(2, 3, 3)] * 2]


def test_a_photo_at_fault_is_none_for_its_ad():
    """The others of the batch are answered, and its failure is of the task."""

    def predict(photos, head):
        if any(it.source_width == 13 for it in photos):
            raise ZeroDivisionError
        return shares(photos, head)

    faults = []
    photos = [photo(number, source=(number, 1)) for number in range(10, 16)]
    task = a_task(predict)
    run(task, photos, faults)
    assert [name for name, _ in faults] == ["sizes"]
    assert [it.failure("sizes") is None for it in photos] == [True] * 3 + [False] + [True] * 2
    ad = combined(task, photos[2:4], [5, 7], lambda *_: None)
    assert [got[-4:] for got in ad.details["got"]] == ["0c@5", "none"]


@pytest.mark.parametrize(
    "predict",
    [lambda photos, head: [], lambda photos, head: [OfAd(label="x", score=1, got=[])] * 9],
    ids=["too few", "another model"],
)
def test_wrong_answers_fail(predict):
    found = photo(1)
    run(a_task(predict), [found])
    assert found.failure("sizes").reason is Reason.INTERNAL_ERROR


def no_answer(answers, places):
    return None


def raises(answers, places):
    raise KeyError


@pytest.mark.parametrize("combine", [no_answer, raises])
def test_an_ad_without_an_answer_fails(combine):
    """Also if its answer can't be combined; the photos keep their answers."""
    faults = []
    task, found = a_task(shares, combine), photo(1)
    run(task, [found])
    ad = combined(task, [found], [0], lambda *it: faults.append(it))
    assert isinstance(ad, Failure)
    assert len(faults) == 1
    assert isinstance(found.result("sizes"), Prediction)
