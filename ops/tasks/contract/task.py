"""The contract of a task: what it is called, what it reads, how it predicts, and what it answers.

Does not depend on a particular task, and imports no torch.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.masks.rle import EncodedMask
from ops.models.release import AnyHead, Head
from ops.models.task_head import TASK_NAME, TaskHead
from ops.tasks.contract.answer import Answer, check_answer
from ops.tasks.contract.arrays import Answers, as_arrays
from ops.tasks.contract.inputs import EMBEDDINGS, Ad, Inputs, Photo, PhotoPlace
from ops.tasks.contract.learning import FitAds, Judge, LearnsFrom, Margin
from ops.types import Prediction
from ops.vectors import Embeddings


class Scope(StrEnum):
    """What a task answers: an ad as a whole, or each of its photos."""

    AD = "ad"
    PHOTO = "photo"


class Lane(StrEnum):
    """When a task runs: on the ad's path, before its commit, or after it."""

    PATH = "path"
    AFTER = "after"


class Predict(Protocol):
    """Predicts ads from the embeddings of their photos."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> list[Prediction | None]:
        """Predict each ad, in the order of the ads; None for an ad without rows.

        Args:
            embeddings: (N, D) float16 unit rows.
            owner: (N,) int64 in [0, n_ads): the ad of each row, in any order.
        """


class PredictMany(Protocol):
    """Computes the same predictions as `Predict`, to the last digit, for all ads of a day."""

    def __call__(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
    ) -> Answers: ...


PredictAds = Callable[[Sequence[Ad], Any], Sequence[Answer]]
"""Answers each ad, in order, from what the task declares to read. The second argument is the
release's head of the task: a `TaskHead`, or the linear `Head` that the task's `fit` made. An ad's
answer must not depend on the other ads: batches differ. Whatever it raises, for a single ad too,
fails the task for that ad alone."""


PredictPhotos = Callable[[Sequence[Photo], Any], Sequence[Answer]]
"""Answers each photo, in order, from what the task declares to read; the second argument is the
release's head, as for `PredictAds`. A photo's answer must depend neither on the other photos of the
call nor on its ad: photos that ads share are answered once. Whatever it raises for a single photo
fails the task for that photo alone."""

MaskOf = Callable[[Answer], EncodedMask]
"""The mask in the answer for a photo."""

Combine = Callable[[Sequence[Answer | None], Sequence[PhotoPlace]], Answer | None]
"""The answer of an ad, from those of its distinct usable photos, in their order, and their places
in the ad. None in the answers: the task failed for that photo. Returns None where the answers are
too few: then the task has failed for the ad."""


class Fit(Protocol):
    """Fits the task's head; imports its dependencies (torch) when it is called."""

    def __call__(
        self,
        embeddings: Embeddings,
        labels: Sequence[str],
        *,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
    ) -> tuple[Head, dict[str, Any]]:
        """Fit a head; returns it with its JSON metrics.

        Raises:
            ConfigurationError: no head can be fitted to these rows.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """One prediction task. One of scope ad has either `predict` or `predict_ads`; one of scope
    photo has `predict_photos` and `combine`.

    `name`: the key in releases and in rows. `asset_name`: the name of its Dagster asset.
    `description`: one sentence for users. `predict`: from embeddings alone, as one array.
    `fit`: None where nothing is learned: every release that is trained has the task then, with
    `config` as its head. `predict_many`: a faster implementation for re-scoring; without it
    `answers` converts the result of `predict`. `number`: the key of a number in the prediction's
    details, such as a price, whose change between releases is reported; None where there is none.
    `answer`: the model of its answers. `inputs`: what it reads. `predict_ads`: from whatever it
    declares to read. `config`: JSON, the head of a task without `fit`. `scope`: what it answers.
    `lane`: when it runs. `photo_answer`: the model of a photo's answer; an instance must be equal
    to the one that is made from its JSON. `fit_ads`, `learns_from`, `judge` and `margins`: for a
    task that learns from what sellers write instead of labels; see `learning.py`. `made_head`:
    makes the head of a task without `fit` that needs tensors besides settings, instead of `config`.
    `mask_of`: for a task of scope photo that answers masks: what they are drawn, compared and
    judged by; `margins` are then of the measures `f`, `mae` and `iou` of masks by people.
    """

    name: str
    asset_name: str
    description: str
    predict: Predict | None = None
    fit: Fit | None = None
    predict_many: PredictMany | None = None
    number: str | None = None
    answer: type[Answer] | None = None
    inputs: Inputs = EMBEDDINGS
    predict_ads: PredictAds | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    scope: Scope = Scope.AD
    lane: Lane = Lane.PATH
    predict_photos: PredictPhotos | None = None
    combine: Combine | None = None
    photo_answer: type[Answer] | None = None
    fit_ads: FitAds | None = None
    learns_from: LearnsFrom | None = None
    judge: Judge | None = None
    margins: Mapping[str, Margin] = field(default_factory=dict)
    made_head: Callable[[], TaskHead] | None = None
    mask_of: MaskOf | None = None

    @property
    def learns(self) -> bool:
        """Whether training makes its head; otherwise `config` is its head."""
        return self.fit is not None or self.fit_ads is not None

    def unlearned_head(self) -> TaskHead:
        """The head of a task that learns nothing."""
        if self.made_head is not None:
            return self.made_head()
        return TaskHead(self.name, {}, self.config)

    def __post_init__(self) -> None:
        def require(good: bool, problem: str) -> None:
            if not good:
                raise ConfigurationError(f"The task {self.name!r}: {problem}.")

        for name in (self.name, self.asset_name):
            good = isinstance(name, str) and TASK_NAME.fullmatch(name) is not None
            require(good, f"{name!r}: expected lower-case letters, digits and underscores")
        if self.scope is Scope.PHOTO:
            self._check_photo_scope(require)
        else:
            self._check_ad_scope(require)
        require(self.name not in self.inputs.answers, "it can't read its own answers")
        require(
            self.made_head is None or not (self.learns or self.config),
            "made_head is for a task that learns nothing, instead of config",
        )
        self._check_learning(require)
        if self.answer is not None:
            check_answer(self.name, self.answer)
        if self.photo_answer is not None:
            check_answer(self.name, self.photo_answer)

    def _check_ad_scope(self, require: Callable[[bool, str], None]) -> None:
        one = (self.predict is None) != (self.predict_ads is None)
        require(one, "it needs either predict or predict_ads")
        plain = self.inputs.only_embeddings
        require(self.predict is None or plain, "predict reads embeddings alone: define predict_ads")
        require(
            self.predict_ads is None or self.answer is not None, "predict_ads needs an answer model"
        )
        of_photo = (self.predict_photos, self.combine, self.photo_answer)
        require(
            of_photo == (None, None, None) and not self.inputs.rendition,
            "predict_photos, combine, photo_answer and Inputs(rendition=True) are for scope=PHOTO",
        )
        require(self.mask_of is None, "mask_of is for scope=PHOTO")

    def _check_learning(self, require: Callable[[bool, str], None]) -> None:
        of_ads = (self.fit_ads, self.learns_from, self.judge)
        if of_ads == (None, None, None):
            measured = self.mask_of is not None
            require(
                measured or not self.margins, "margins are of the measures of judge, which it lacks"
            )
            return
        require(None not in of_ads, "fit_ads, learns_from and judge belong together")
        require(self.fit is None, "it needs either fit or fit_ads")
        require(
            self.predict_ads is not None and self.inputs.pixels is None,
            "fit_ads is for predict_ads from embeddings, fields and answers",
        )

    def _check_photo_scope(self, require: Callable[[bool, str], None]) -> None:
        needed = (self.predict_photos, self.combine, self.photo_answer, self.answer)
        require(
            None not in needed,
            "scope=PHOTO needs predict_photos, combine, photo_answer and answer",
        )
        of_ad = (self.predict, self.predict_ads, self.predict_many)
        require(of_ad == (None, None, None), "scope=PHOTO has predict_photos alone to predict with")
        require(
            not (self.inputs.fields or self.inputs.answers),
            "scope=PHOTO reads embedding, pixels and rendition: a photo belongs to many ads",
        )

    def answers(
        self, embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: AnyHead
    ) -> Answers:
        """The predictions for many ads as arrays, by `predict_many` where the task has it; the
        arguments are those of `Predict`.

        Raises:
            ConfigurationError: the task reads more than embeddings, or the head is not linear.
        """
        linear = _linear(self.name, head)
        if self.predict_many is not None:
            return self.predict_many(embeddings, owner, n_ads, linear)
        if self.predict is None:
            raise ConfigurationError(f"The task {self.name} has no predict: use predict_ads.")
        return as_arrays(self.predict(embeddings, owner, n_ads, linear))


def _linear(task: str, head: AnyHead) -> Head:
    if not isinstance(head, Head):
        raise ConfigurationError(
            f"The release's head of {task} is no linear classifier, as the installed task expects: "
            "train a release with this version of the task."
        )
    return head
