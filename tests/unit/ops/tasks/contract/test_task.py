"""A task that contradicts itself is refused when it is defined, with what is wrong."""

import numpy as np
import pytest

from ops.errors import ConfigurationError
from ops.models.task_head import TaskHead
from ops.tasks import Answer, Inputs, Scope, Task


def nothing(*_):
    return []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"predict": None}, "either predict or predict_ads"),
        ({"predict_ads": nothing}, "either predict or predict_ads"),
        ({"inputs": Inputs(fields=True)}, "define predict_ads"),
        ({"predict": None, "predict_ads": nothing}, "needs an answer model"),
        ({"name": "Colours"}, "lower-case"),
        ({"asset_name": "ad colours"}, "lower-case"),
        (
            {
                "predict": None,
                "predict_ads": nothing,
                "answer": Answer,
                "inputs": Inputs(answers=("colours",)),
            },
            "its own answers",
        ),
    ],
)
def test_a_contradiction_is_refused(changes, what):
    parts = {
        "name": "colours",
        "asset_name": "ad_colours",
        "description": "Colours.",
        "predict": nothing,
    }
    with pytest.raises(ConfigurationError, match=what):
        Task(**(parts | changes))


OF_PHOTOS = {
    "predict": None,
    "predict_photos": nothing,
    "combine": nothing,
    "photo_answer": Answer,
    "answer": Answer,
    "scope": Scope.PHOTO,
    "inputs": Inputs(rendition=True),
}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        *(
            ({name: None}, "scope=PHOTO needs predict_photos, combine, photo_answer and answer")
            for name in ("predict_photos", "combine", "photo_answer", "answer")
        ),
        ({"predict": nothing}, "has predict_photos alone"),
        ({"predict_ads": nothing}, "has predict_photos alone"),
        ({"inputs": Inputs(embedding=True, fields=True)}, "a photo belongs to many ads"),
        ({"inputs": Inputs(pixels=64, answers=("category",))}, "a photo belongs to many ads"),
        ({"scope": Scope.AD, "predict_ads": nothing}, "are for scope=PHOTO"),
    ],
)
def test_a_contradiction_of_a_task_of_photos_is_refused(changes, what):
    named = {"name": "sizes", "asset_name": "photo_sizes", "description": "Sizes."}
    with pytest.raises(ConfigurationError, match=what):
        Task(**(named | OF_PHOTOS | changes))


def test_a_rendition_is_for_photos():
    """A task of scope ad would get it for no photo in particular."""
    with pytest.raises(ConfigurationError, match="are for scope=PHOTO"):
        Task(
            *("colours", "ad_colours", "Colours."),
            answer=Answer,
            predict_ads=nothing,
            inputs=Inputs(rendition=True),
        )


def test_the_fast_lane_needs_a_linear_head():
    """A release whose head is of another kind belongs to another version of the task."""
    task = Task("colours", "ad_colours", "Colours.", nothing)
    rows = np.zeros((1, 4), np.float16)
    with pytest.raises(ConfigurationError, match="no linear classifier"):
        task.answers(rows, np.zeros(1, np.int64), 1, TaskHead("colours"))
