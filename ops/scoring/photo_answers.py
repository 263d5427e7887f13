"""Runs tasks of scope photo: an answer for each photo, and of these the answer of each ad.

Owns that a photo which ads share is answered once, that one which a task fails for fails alone, and
that a fresh answer is combined exactly as one that was stored: it is read back from its row first.
Does not depend on where photos and stored answers come from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ops.errors import LalafoError, Reason
from ops.isolation import describe, divided, is_of_item
from ops.models.release import AnyHead
from ops.scoring.ready_release import Image, Vector
from ops.tasks import Answer, Photo, PhotoPlace, Task
from ops.tasks.contract.answer import answer_of, as_prediction
from ops.tasks.contract.inputs import RENDITION_VIEW
from ops.types import Failure, Prediction

OnFault = Callable[[str, BaseException], object]
"""Called with the name of a task and what it raised, for each ad or photo that it fails for."""


@dataclass(slots=True, eq=False)
class PhotoInput:
    """What can be read of one photo under one release; ads that share a photo share the object.

    `images`: by view. `source`: width and height of the seller's file. `stored`: answers by task
    that are in the database already. `made`: by task, what `answer_photos` adds.
    """

    sha256: bytes
    vector: Vector | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    source: tuple[int, int] = (0, 0)
    stored: Mapping[str, Prediction] = field(default_factory=dict)
    made: dict[str, Prediction | Failure] = field(default_factory=dict)

    def result(self, task: str) -> Prediction | Failure | None:
        """The answer of a task, or why it failed; None: it has not run."""
        found = self.made.get(task)
        return self.stored.get(task) if found is None else found

    def failure(self, task: str) -> Failure | None:
        """Why a task failed for the photo, if it did."""
        found = self.made.get(task)
        return found if isinstance(found, Failure) else None


def answer_photos(
    task: Task, head: AnyHead, photos: Iterable[PhotoInput], on_fault: OnFault
) -> list[PhotoInput]:
    """Answer those of the photos that have no answer of the task yet, each once, in `made`.

    Returns:
        The photos that it has answered, or has failed for.
    """
    missing = [photo for photo in dict.fromkeys(photos) if photo.result(task.name) is None]
    predict, model = task.predict_photos, task.photo_answer
    assert predict is not None
    assert model is not None

    def act(some: Sequence[PhotoInput]) -> list[Prediction | Failure]:
        found = predict([_seen(task, photo) for photo in some], head)
        if len(found) != len(some):
            raise ValueError(f"{len(found)} answers for {len(some)} photos")
        return [_row(task.name, answer, model) for answer in found]

    def fail(_: PhotoInput, error: BaseException) -> list[Prediction | Failure]:
        on_fault(task.name, error)
        return [Failure(Reason.INTERNAL_ERROR, describe(error))]

    results = divided(missing, act, fail, is_fault=is_of_task) if missing else []
    for photo, result in zip(missing, results, strict=True):
        photo.made[task.name] = result
    return missing


def combined(
    task: Task, photos: Sequence[PhotoInput], positions: Sequence[int], on_fault: OnFault
) -> Prediction | Failure:
    """The answer of an ad with these distinct photos, all of which `answer_photos` has seen.

    Args:
        positions: the first position of each photo in the ad.
    """
    combine, model, of_photo = task.combine, task.answer, task.photo_answer
    assert combine is not None
    assert model is not None
    assert of_photo is not None
    try:
        answers = [_answer(of_photo, photo.result(task.name)) for photo in photos]
        places = [
            PhotoPlace(photo.sha256.hex(), position)
            for photo, position in zip(photos, positions, strict=True)
        ]
        answer = combine(answers, places)
        if answer is None:
            failed = sum(found is None for found in answers)
            raise ValueError(f"{task.name} failed for {failed} of {len(photos)} photos")
        return _row(task.name, answer, model)
    except BaseException as error:
        if not is_of_task(error):
            raise
        on_fault(task.name, error)
        return Failure(Reason.INTERNAL_ERROR, describe(error))


def is_of_task(error: BaseException) -> bool:
    """Whether the task is at fault. It reaches no infrastructure: its LalafoErrors are its own."""
    return is_of_item(error) or isinstance(error, LalafoError)


def _seen(task: Task, photo: PhotoInput) -> Photo:
    """What a task declares to read of a photo."""
    inputs, view = task.inputs, task.inputs.view
    width, height = photo.source
    return Photo(
        embedding=np.asarray(photo.vector, np.float16) if inputs.embedding else None,
        pixels=None if view is None else photo.images[view[0]],
        rendition=photo.images[RENDITION_VIEW] if inputs.rendition else None,
        source_width=width,
        source_height=height,
    )


def _row(task: str, answer: object, model: type[Answer]) -> Prediction:
    """The row of an answer.

    Raises:
        TypeError: the answer is no instance of the model.
        ValueError: PostgreSQL can't store it, or the model does not accept what was stored.
    """
    if not isinstance(answer, model):
        raise TypeError(f"{task} answered {type(answer).__name__}, not its model")
    row = as_prediction(task, answer)
    answer_of(model, row)
    return row


def _answer(model: type[Answer], found: Prediction | Failure | None) -> Answer | None:
    return answer_of(model, found) if isinstance(found, Prediction) else None
