"""Runs the tasks of a release on ads: what each reads, in which order, and what fails.

Owns the rule that a task that raises fails for the ads that it raises for, and for nothing else:
the ad keeps its other predictions, and the stream goes on. Does not depend on where the inputs come
from: the stream and re-scores give the same ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ops.errors import Reason
from ops.isolation import describe, divided
from ops.models.release import AnyHead, Head
from ops.scoring.photo_answers import (
    OnFault,
    PhotoInput,
    answer_photos,
    combined,
    is_of_task,
)
from ops.scoring.ready_release import Image, ReadyRelease, Vector
from ops.scoring.switched_off import NONE_OFF, SwitchedOff
from ops.tasks import Ad, AdFields, Scope, Task
from ops.tasks.contract.answer import as_prediction
from ops.types import SCORE_DIGITS, AdKey, Failure, Prediction

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(slots=True, eq=False)  # frozen, it would take three times as long to make
class AdInput:
    """What can be read of one ad. `vectors` and each of `pixels` have a row for each of its
    distinct photos, in their order; an ad without photos gets no prediction.

    `pixels`: by side. `answers`: of tasks that ran before, where they are stored already.
    `of_photos`, `positions`: its distinct photos for tasks of scope photo, with the first position
    of each in the ad.
    """

    key: AdKey
    vectors: Sequence[Vector]
    pixels: Mapping[int, Sequence[Image]] = field(default_factory=dict)
    fields: AdFields | None = None
    answers: Mapping[str, Prediction] = field(default_factory=dict)
    photos: int | None = None  # None: as many as vectors
    of_photos: Sequence[PhotoInput] = ()
    positions: Sequence[int] = ()

    @property
    def has_photos(self) -> bool:
        """Whether the ad has a usable photo."""
        return (len(self.vectors) if self.photos is None else self.photos) > 0


class AdAnswers(NamedTuple):
    """The predictions of one ad under one release, and the failures of tasks, by task.

    `PhotoInput.made` has what tasks of scope photo answered for its photos.
    """

    predictions: tuple[Prediction, ...] = ()
    failures: Mapping[str, Failure] = _NOTHING


Result = Prediction | Failure | None
"""What a task has for an ad; None: the ad has no photos."""

_Item = tuple[int, AdInput]
"""The index of an ad among those of the call, and the ad."""


def predict_ads(
    release: ReadyRelease,
    tasks: Sequence[Task],
    ads: Sequence[AdInput],
    on_fault: OnFault = lambda *_: None,
    off: SwitchedOff = NONE_OFF,
) -> list[AdAnswers]:
    """Predict each ad in every task that the release has a head for, in the order of `tasks`.

    An ad without photos gets no prediction, nor does one in a task that is off in its catalog.
    """
    made: list[list[Prediction]] = [[] for _ in ads]
    failures: dict[int, dict[str, Failure]] = {}
    rows = None
    for task in tasks:
        head = release.heads.get(task.name)
        if head is None or not any(ad.has_photos for ad in ads):
            continue
        some = _switched_on(task, ads, off)
        if some is not None:
            results = _of_some(task, head, ads, some, made, on_fault)
        elif task.predict is not None:
            rows = _Rows.of(ads) if rows is None else rows
            results = _from_rows(task, head, ads, rows, on_fault)
        else:
            results = from_inputs(task, head, ads, _done(task, ads, made), on_fault)
        for index, result in enumerate(results):
            if isinstance(result, Prediction):
                made[index].append(result)
            elif result is not None:
                failures.setdefault(index, {})[task.name] = result
    return [
        AdAnswers(tuple(items), failures.get(index, _NOTHING)) for index, items in enumerate(made)
    ]


def _switched_on(task: Task, ads: Sequence[AdInput], off: SwitchedOff) -> list[int] | None:
    """The ads that a task is on for; None: it is on in every catalog."""
    if not off.has(task.name):
        return None
    return [i for i, ad in enumerate(ads) if not off(task.name, ad.key.catalog)]


def _of_some(
    task: Task,
    head: AnyHead,
    ads: Sequence[AdInput],
    some: Sequence[int],
    made: Sequence[Sequence[Prediction]],
    on_fault: OnFault,
) -> list[Result]:
    """The predictions of a task for some of the ads, and None for the others."""
    results: list[Result] = [None] * len(ads)
    there = [index for index in some if ads[index].has_photos]
    if there:
        chosen = [ads[index] for index in there]
        answers = _done(task, chosen, [made[index] for index in there])
        for index, result in zip(
            there, run_task(task, head, chosen, answers, on_fault), strict=True
        ):
            results[index] = result
    return results


def run_task(
    task: Task,
    head: AnyHead,
    ads: Sequence[AdInput],
    answers: Sequence[Mapping[str, Prediction]],
    on_fault: OnFault,
) -> list[Result]:
    """The predictions of one task of any kind for some ads, in order.

    Args:
        answers: of the tasks that it reads, by ad.
    """
    if task.predict is not None and any(ad.has_photos for ad in ads):
        return _from_rows(task, head, ads, _Rows.of(ads), on_fault)
    if task.predict is not None:
        return [None] * len(ads)
    return from_inputs(task, head, ads, answers, on_fault)


def _done(
    task: Task, ads: Sequence[AdInput], made: Sequence[Sequence[Prediction]]
) -> list[Mapping[str, Prediction]]:
    """The answers that a task can read, by ad."""
    if not task.inputs.answers:
        return [_NOTHING] * len(ads)
    return [
        {**ad.answers, **{item.task: item for item in items}}
        for ad, items in zip(ads, made, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The vectors of ads as one array, and the ad of each row, ascending."""

    vectors: NDArray[np.float16]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, ads: Sequence[AdInput]) -> "_Rows":
        vectors = np.stack([vector for ad in ads for vector in ad.vectors])
        owner = np.repeat(np.arange(len(ads)), [len(ad.vectors) for ad in ads])
        return cls(vectors, owner)


def _from_rows(
    task: Task, head: AnyHead, ads: Sequence[AdInput], rows: _Rows, on_fault: OnFault
) -> list[Result]:
    """The predictions of a task that reads embeddings alone, in one array."""
    predict = task.predict
    assert predict is not None

    def act(some: Sequence[_Item]) -> Sequence[Result]:
        if not isinstance(head, Head):
            raise TypeError(f"the release's head of {task.name} is no linear classifier")
        first, count = some[0][0], len(some)
        at = slice(*np.searchsorted(rows.owner, (first, first + count)).tolist())
        found = predict(rows.vectors[at], rows.owner[at] - first, count, head)
        _check_count(found, count)
        return found

    return _isolated(task, ads, act, on_fault)


def from_inputs(
    task: Task,
    head: AnyHead,
    ads: Sequence[AdInput],
    answers: Sequence[Mapping[str, Prediction]],
    on_fault: OnFault,
) -> list[Result]:
    """The predictions of a task that has no `predict`, of either scope.

    Args:
        answers: of the tasks that it reads, by ad; an ad that lacks one of them fails.
    """
    if task.scope is Scope.AD:
        return _from_ads(task, head, ads, answers, on_fault)
    answer_photos(task, head, (photo for ad in ads for photo in ad.of_photos), on_fault)
    return [
        combined(task, ad.of_photos, ad.positions, on_fault) if ad.has_photos else None
        for ad in ads
    ]


def _from_ads(
    task: Task,
    head: AnyHead,
    ads: Sequence[AdInput],
    answers: Sequence[Mapping[str, Prediction]],
    on_fault: OnFault,
) -> list[Result]:
    """The predictions of a task of scope ad that reads whatever it declares."""
    predict, model = task.predict_ads, task.answer
    assert predict is not None
    assert model is not None

    def act(some: Sequence[_Item]) -> Iterator[Result]:
        there = [(index, ad) for index, ad in some if ad.has_photos]
        seen = [_seen(task, ad, answers[index]) for index, ad in there]
        found: Sequence[object] = predict(seen, head) if there else ()
        _check_count(found, len(there))
        made: dict[int, Prediction] = {}
        for (index, _), answer in zip(there, found, strict=True):
            if not isinstance(answer, model):
                raise TypeError(f"{task.name} answered {type(answer).__name__}, not its model")
            made[index] = as_prediction(task.name, answer)
        return (made.get(index) for index, _ in some)

    return _isolated(task, ads, act, on_fault)


def _seen(task: Task, ad: AdInput, answers: Mapping[str, Prediction]) -> Ad:
    """What a task declares to read of an ad.

    Raises:
        LookupError: a task whose answer it reads has none for the ad.
    """
    inputs = task.inputs
    missing = [name for name in inputs.answers if name not in answers]
    if missing:
        raise LookupError(f"{task.name} reads {missing}, which have no answer for this ad")
    return Ad(
        embeddings=np.stack(ad.vectors) if inputs.embedding else None,
        pixels=None if inputs.pixels is None else np.stack(ad.pixels[inputs.pixels]),
        fields=ad.fields if inputs.fields else None,
        answers={name: _rounded(answers[name]) for name in inputs.answers},
    )


def _rounded(prediction: Prediction) -> Prediction:
    """The same in both lanes: a score that PostgreSQL has stored is a float32."""
    return replace(prediction, score=round(prediction.score, SCORE_DIGITS))


def _isolated(
    task: Task,
    ads: Sequence[AdInput],
    act: Callable[[Sequence[_Item]], Sequence[Result] | Iterator[Result]],
    on_fault: OnFault,
) -> list[Result]:
    def fail(_: _Item, error: BaseException) -> list[Result]:
        on_fault(task.name, error)
        return [Failure(Reason.INTERNAL_ERROR, describe(error))]

    return divided(list(enumerate(ads)), act, fail, is_fault=is_of_task) if ads else []


def _check_count(found: Sequence[object], count: int) -> None:
    if len(found) != count:
        raise ValueError(f"{len(found)} answers for {count} ads")
