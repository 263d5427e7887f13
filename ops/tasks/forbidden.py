"""The task `forbidden`: goods that a marketplace does not allow, as its moderators have taught it.

It learns from feedback: ads that people labelled `allowed`, or with a kind of goods of their own
choice (`weapons`, `tobacco`). A release has it once there are such labels to train from.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ops.errors import ConfigurationError
from ops.models.heads import class_probabilities
from ops.models.release import Head
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.task import Task
from ops.types import SCORE_DIGITS, Prediction
from ops.vectors import Embeddings

NAME = "forbidden"
ALLOWED = "allowed"
FORBIDDEN_FROM = 0.5  # probability, of all kinds of forbidden goods together


class ForbiddenGoods(Answer):
    """`allowed`, or the kind of forbidden goods on the ad's most suspicious photo."""

    forbidden: float = Field(
        ge=0,
        le=1,
        description="The probability that a photo shows forbidden goods, of any kind: the largest "
        "of the ad's photos.",
        json_schema_extra={"unit": "share"},
    )
    top: list[tuple[str, float]] = Field(
        description="The probability of each label on that photo, the largest first, at most 5.",
        json_schema_extra={"unit": "share"},
    )


TOP = 5


def predict(
    embeddings: Embeddings, owner: NDArray[np.int64], n_ads: int, head: Head
) -> list[Prediction | None]:
    """Answer for the photo of each ad that most probably shows forbidden goods.

    The mean over an ad's photos, as of a category, would hide one such photo among nine others.

    Args:
        embeddings: (N, D) float16 unit rows.
        owner: (N,) int64 in [0, n_ads), in any order.

    Returns:
        An answer for each ad; None for one without rows.

    Raises:
        ConfigurationError: the head has no label `allowed`, or is of another backbone.
    """
    allowed = _column_of_allowed(head.labels)
    answers: list[Prediction | None] = [None] * n_ads
    if len(owner) == 0:
        return answers
    probabilities = class_probabilities(embeddings, head).astype(np.float64)
    suspicion = 1 - probabilities[:, allowed]
    order = np.lexsort((-suspicion, owner))  # each ad's most suspicious photo first
    _, first = np.unique(owner[order], return_index=True)
    for row in order[first].tolist():
        answers[int(owner[row])] = _answer(probabilities[row], float(suspicion[row]), head.labels)
    return answers


def _answer(
    probabilities: NDArray[np.float64], suspicion: float, labels: Sequence[str]
) -> Prediction:
    best = np.argsort(-probabilities, kind="stable").tolist()
    kind = next(labels[i] for i in best if labels[i] != ALLOWED)
    forbidden = suspicion >= FORBIDDEN_FROM
    clipped = round(min(max(suspicion, 0.0), 1.0), SCORE_DIGITS)
    details = {
        "forbidden": clipped,
        "top": [[labels[i], round(float(probabilities[i]), SCORE_DIGITS)] for i in best[:TOP]],
    }
    score = clipped if forbidden else round(1 - clipped, SCORE_DIGITS)
    return Prediction(NAME, kind if forbidden else ALLOWED, score, details)


def fit(
    embeddings: Embeddings,
    labels: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[Head, dict[str, Any]]:
    """Fit the head on labelled photos; see `ops.models.fit_head`.

    Raises:
        ConfigurationError: no photo is labelled `allowed`, or too few are labelled.
    """
    from ops.models.fit_head import fit_head

    _column_of_allowed(labels)
    fitted = fit_head(embeddings, labels, task=NAME, groups=groups, seed=seed)
    return fitted.head, fitted.metrics


def _column_of_allowed(labels: Sequence[str]) -> int:
    if ALLOWED not in labels:
        raise ConfigurationError(
            f"The task {NAME} needs ads that are labelled {ALLOWED!r}, besides those of forbidden "
            f"goods; it has {', '.join(sorted(set(labels))) or 'none'}."
        )
    return list(labels).index(ALLOWED)


TASK = Task(
    name=NAME,
    asset_name="ad_forbidden_goods",
    description="Whether an ad's photos show goods that the marketplace does not allow.",
    predict=predict,
    fit=fit,
    answer=ForbiddenGoods,
)
