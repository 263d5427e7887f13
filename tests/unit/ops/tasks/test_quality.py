"""The task `quality` names the photo to show first, and what is wrong with each."""

import numpy as np
import pytest

from lalafo_assets.bench.quality.degrade import expose, gaussian_blur
from lalafo_assets.bench.quality.series import drawn_photos
from ops.models.task_head import TaskHead
from ops.tasks import Photo, PhotoPlace
from ops.tasks.contract.answer import as_prediction
from ops.tasks.quality import TASK, PhotoQuality, Quality, combine, predict_photos

HEAD = TaskHead("quality", config=TASK.config)
GOOD = drawn_photos(seed=3, count=1)[0]


def places(count: int) -> list[PhotoPlace]:
    return [PhotoPlace(sha256=f"{index:064x}", position=2 * index) for index in range(count)]


def rated(*photos: np.ndarray, side: int = 1200) -> list[PhotoQuality]:
    return predict_photos(
        [Photo(rendition=it, source_width=side, source_height=side) for it in photos], HEAD
    )


def test_the_best_photo_is_the_one_without_defects() -> None:
    """Whatever its position; every photo has its flags, and the ad has those of all."""
    answers = rated(expose(GOOD, -4), gaussian_blur(GOOD, 6), GOOD)
    found = combine(answers, places(3))
    assert isinstance(found, Quality)
    assert found.best == found.photos[2] and found.best.position == 4
    assert [photo.sha256 for photo in found.photos] == [it.sha256 for it in places(3)]
    assert "dark" in found.photos[0].flags and "blurred" in found.photos[1].flags
    assert {"dark", "blurred"} <= set(found.flags)
    assert found.quality == max(photo.quality for photo in found.photos)


def test_of_equal_photos_the_first_is_shown() -> None:
    """The order of the seller stays."""
    found = combine(rated(GOOD, GOOD), places(2))
    assert found is not None and found.best.position == 0


def test_a_photo_that_failed_is_left_out() -> None:
    """The ad has an answer as long as one photo has."""
    (answer,) = rated(GOOD)
    found = combine([None, answer], places(2))
    assert found is not None
    assert [photo.position for photo in found.photos] == [2]
    assert combine([None, None], places(2)) is None


def test_the_size_of_the_file_counts() -> None:
    """Two renditions of equal pixels, of files of different sizes."""
    (small,), (large,) = rated(GOOD, side=60), rated(GOOD, side=1200)
    assert small.tiny > 0.9 > 0.1 > large.tiny
    assert small.quality < large.quality


def test_an_answer_is_equal_to_the_one_made_from_its_json() -> None:
    """A stored photo's answer is combined as a new one is."""
    for answer in rated(GOOD, expose(GOOD, 3)):
        assert PhotoQuality.model_validate_json(answer.model_dump_json()) == answer


def test_fifty_photos_fit_into_a_row() -> None:
    """An ad's answer can be stored."""
    found = combine(rated(GOOD) * 50, places(50))
    assert found is not None
    assert len(as_prediction("quality", found).details["photos"]) == 50


@pytest.mark.parametrize("batch", [1, 3])
def test_a_photos_answer_does_not_depend_on_the_others(batch: int) -> None:
    """Photos that ads share are rated once."""
    assert rated(*[GOOD] * batch)[0] == rated(GOOD, gaussian_blur(GOOD, 3))[0]
