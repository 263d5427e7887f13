"""A task gets what it declares; one that raises fails for the ads that it raises for alone."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from pydantic import Field

from ops.errors import ConfigurationError, Reason, RetryableError
from ops.models.task_head import TaskHead
from ops.scoring.predictions import AdInput, predict_ads
from ops.tasks import AdFields, Answer, Inputs, Task, task_by_name
from ops.types import AdKey, Failure, Prediction
from tests.support.tiny_release import SURE, tiny_release

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CATEGORY = task_by_name("category")
DARK, BRIGHT = np.array([1, 0], np.float16), np.array([0, 1], np.float16)


class Seen(Answer):
    """What a task was given."""

    what: list[str] = Field(description="What it saw.")


def fields(ad_id: str, **changes: object) -> AdFields:
    of = AdFields("kg", ad_id, f"ad {ad_id}", "", None, Decimal(5), "KGS", NOON, NOON)
    return replace(of, **changes)


def an_ad(ad_id: str, *vectors: np.ndarray) -> AdInput:
    side = np.zeros((32, 32, 3), np.uint8)
    return AdInput(AdKey("kg", ad_id), vectors, {32: [side] * len(vectors)}, fields(ad_id))


def a_release(*tasks: Task):
    release = tiny_release("r1")
    heads = {task.name: TaskHead(task.name, {}, {"of": task.name}) for task in tasks}
    return replace(release, heads={**release.heads, **heads})


def task(name: str, predict_ads, **inputs: object) -> Task:
    reads = Inputs(**(inputs or {"fields": True}))
    return Task(
        *(name, f"ad_{name}", "A task."), answer=Seen, predict_ads=predict_ads, inputs=reads
    )


def see(ads, head) -> list[Seen]:
    """Answer with the names of what was given."""
    return [
        Seen(
            label=head.config["of"],
            score=1,
            what=[
                *(["embeddings"] if ad.embeddings is not None else []),
                *(["pixels"] if ad.pixels is not None else []),
                *([ad.fields.title] if ad.fields is not None else []),
                *(f"{name}={found.label}" for name, found in ad.answers.items()),
            ],
        )
        for ad in ads
    ]


def test_a_task_gets_what_it_declares_and_nothing_else():
    """In the shapes that the contract names."""
    shapes = []

    def look(ads, head):
        shapes.extend((ad.embeddings.shape, ad.pixels.shape, ad.pixels.dtype) for ad in ads)
        return see(ads, head)

    tasks = [
        CATEGORY,
        task("every", look, embedding=True, pixels=32, fields=True, answers=("category",)),
        task("texts", see, fields=True),
    ]
    (answers,) = predict_ads(a_release(*tasks[1:]), tasks, [an_ad("1", DARK, DARK)])
    assert shapes == [((2, 2), (2, 32, 32, 3), np.dtype(np.uint8))]
    assert {found.task: found.details.get("what") for found in answers.predictions} == {
        "category": None,
        "every": ["embeddings", "pixels", "ad 1", "category=dark"],
        "texts": ["ad 1"],
    }
    assert answers.failures == {}


def test_an_ad_without_photos_has_no_answer():
    """And is not shown to a task; a task without a head in the release does not run."""
    given = []

    def count(ads, head):
        given.append(len(ads))
        return see(ads, head)

    other = task("other", count)
    ads = [an_ad("1"), an_ad("2", DARK), an_ad("3")]
    found = predict_ads(a_release(other), [CATEGORY, other], ads)
    assert [[it.task for it in of.predictions] for of in found] == [[], ["category", "other"], []]
    assert given == [1]
    assert predict_ads(a_release(other), [CATEGORY, other], [an_ad("1")])[0].predictions == ()
    assert predict_ads(a_release(other), [CATEGORY, other], []) == []
    without = predict_ads(tiny_release("r1"), [CATEGORY, other], ads)
    assert [it.task for it in without[1].predictions] == ["category"]


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("wrong"), MemoryError(), ConfigurationError("wrong"), RetryableError("busy")),
        *(SystemExit(3), StopIteration(), AssertionError()),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("bad", [0, 3, 6])
def test_what_a_task_raises_fails_it_for_that_ad_alone(error, bad):
    """Whatever it raises: the other ads have its answer, and the ad has the other tasks'."""

    def raising(ads, head):
        if any(ad.fields.ad_id == str(bad) for ad in ads):
            raise error
        return see(ads, head)

    faults = []
    other, after = task("bad", raising), task("good", see)
    tasks = [CATEGORY, other, after]
    ads = [an_ad(str(n), BRIGHT) for n in range(7)]
    found = predict_ads(a_release(other, after), tasks, ads, lambda *fault: faults.append(fault))
    for n, of in enumerate(found):
        there = ["category", "good"] if n == bad else ["category", "bad", "good"]
        assert [it.task for it in of.predictions] == there
        assert list(of.failures) == (["bad"] if n == bad else [])
    failure = found[bad].failures["bad"]
    assert failure.reason is Reason.INTERNAL_ERROR
    assert type(error).__name__ in failure.detail
    assert "wrong" not in failure.detail, "the message may hold an ad's content"
    assert [name for name, _ in faults] == ["bad"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda ads, head: see(ads, head)[1:],
        lambda ads, head: [None for _ in ads],
        lambda ads, head: [Answer(label="x", score=1) for _ in ads],
        lambda ads, head: [Seen(label="x", score=2, what=[]) for _ in ads],
        lambda ads, head: [Seen(label="x", score=1, what=["a\x00"]) for _ in ads],
        lambda ads, head: None,
    ],
    ids=["too few", "none", "another model", "score 2", "a NUL", "no list"],
)
def test_an_answer_that_is_none_fails_the_task(answer):
    """It could not be stored, and would fail the ad's commit."""
    other = task("other", answer)
    (found,) = predict_ads(a_release(other), [CATEGORY, other], [an_ad("1", DARK)])
    assert [it.task for it in found.predictions] == ["category"]
    assert list(found.failures) == ["other"]


def test_a_fault_of_the_fast_lane_is_isolated_too():
    """Category as one array: the ad at fault is found by halving, in any order of ads."""

    def predict(embeddings, owner, n_ads, head):
        if np.isnan(embeddings).any():
            raise FloatingPointError
        return CATEGORY.predict(embeddings, owner, n_ads, head)

    poisoned = np.array([np.nan, 0], np.float16)
    ads = [an_ad("0", DARK), an_ad("1"), an_ad("2", BRIGHT, poisoned), an_ad("3", BRIGHT)]
    found = predict_ads(tiny_release("r1"), [replace(CATEGORY, predict=predict)], ads)
    assert [[it.label for it in of.predictions] for of in found] == [["dark"], [], [], ["bright"]]
    assert [list(of.failures) for of in found] == [[], [], ["category"], []]
    assert found[3].predictions[0].score == pytest.approx(SURE, abs=1e-6)


def test_a_head_of_another_kind_fails_the_task():
    """The release was trained with another version of the task."""
    release = replace(tiny_release("r1"), heads={"category": TaskHead("category")})
    (found,) = predict_ads(release, [CATEGORY], [an_ad("1", DARK)])
    assert isinstance(found.failures["category"], Failure)


def test_a_task_that_reads_an_answer_that_failed_fails_too():
    """It has no input; the detail says what is missing. Stored answers count as well."""

    def raising(ads, head):
        raise ValueError

    first, second = task("first", raising), task("second", see, answers=("first",))
    release = a_release(first, second)
    (found,) = predict_ads(release, [first, second], [an_ad("1", DARK)])
    assert list(found.failures) == ["first", "second"]
    assert "LookupError" in found.failures["second"].detail
    stored = {"first": Prediction("first", "x", 0.25)}
    (found,) = predict_ads(release, [second], [replace(an_ad("1", DARK), answers=stored)])
    assert found.predictions[0].details == {"what": ["first=x"]}
