"""The contract of a task: what it is called, what it reads, how it predicts, and what it answers.

Does not depend on a particular task, and imports no torch.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.release import AnyHead, Head
from ops.models.task_head import TASK_NAME
from ops.tasks.contract.answer import Answer, check_answer
from ops.tasks.contract.arrays import Answers, as_arrays
from ops.tasks.contract.inputs import EMBEDDINGS, Ad, Inputs
from ops.types import Prediction
from ops.vectors import Embeddings


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
    """One prediction task. It has either `predict` or `predict_ads`.

    `name`: the key in releases and in rows. `asset_name`: the name of its Dagster asset.
    `description`: one sentence for users. `predict`: from embeddings alone, as one array.
    `fit`: None where nothing is learned: every release that is trained has the task then, with
    `config` as its head. `predict_many`: a faster implementation for re-scoring; without it
    `answers` converts the result of `predict`. `number`: the key of a number in the prediction's
    details, such as a price, whose change between releases is reported; None where there is none.
    `answer`: the model of its answers. `inputs`: what it reads. `predict_ads`: from whatever it
    declares to read. `config`: JSON, the head of a task without `fit`.
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

    def __post_init__(self) -> None:
        def require(good: bool, problem: str) -> None:
            if not good:
                raise ConfigurationError(f"The task {self.name!r}: {problem}.")

        for name in (self.name, self.asset_name):
            good = isinstance(name, str) and TASK_NAME.fullmatch(name) is not None
            require(good, f"{name!r}: expected lower-case letters, digits and underscores")
        one = (self.predict is None) != (self.predict_ads is None)
        require(one, "it needs either predict or predict_ads")
        plain = self.inputs.only_embeddings
        require(self.predict is None or plain, "predict reads embeddings alone: define predict_ads")
        require(
            self.predict_ads is None or self.answer is not None, "predict_ads needs an answer model"
        )
        require(self.name not in self.inputs.answers, "it can't read its own answers")
        if self.answer is not None:
            check_answer(self.name, self.answer)

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
