"""The measures of masks, against a calculation by hand."""

import numpy as np
import pytest

from ops.masks.arrays import intersection_over_union
from ops.masks.measures import MaskMeasures, f_measure

TRUTH = np.zeros((10, 10), bool)
TRUTH[2:7, 2:8] = True  # 30 pixels


def test_a_right_mask_has_the_best_measures():
    measures = MaskMeasures()
    measures.add(TRUTH.astype(np.float32), TRUTH)
    assert measures.figures() == {"photos": 1, "max_f": 1, "f": 1, "mae": 0, "iou": 1}


def test_everything_as_foreground_has_full_recall_and_the_share_as_precision():
    measures = MaskMeasures()
    measures.add(np.ones((10, 10), np.float32), TRUTH)
    found = measures.figures()
    assert found["mae"] == pytest.approx(0.7)
    assert found["iou"] == pytest.approx(0.3)
    assert found["f"] == pytest.approx(1.3 * 0.3 * 1 / (0.3 * 0.3 + 1), abs=1e-4)


def test_the_best_threshold_is_found_over_the_mean_curves_of_all_photos():
    shy = np.where(TRUTH, 0.3, 0.1).astype(np.float32)
    measures = MaskMeasures()
    measures.add(shy, TRUTH)
    measures.add(shy, TRUTH)
    found = measures.figures()
    assert found["max_f"] == 1
    assert found["f"] == 0  # at 0.5 the mask is empty: no recall
    assert found["iou"] == 0
    assert found["mae"] == pytest.approx((30 * 0.7 + 70 * 0.1) / 100)


def test_an_empty_photo_that_is_found_empty_is_right():
    empty = np.zeros((10, 10), bool)
    measures = MaskMeasures()
    measures.add(empty.astype(np.float32), empty)
    assert measures.figures()["f"] == 1
    assert intersection_over_union(empty, empty) == 1


def test_precision_counts_more_than_recall():
    assert f_measure(0.9, 0.6) > f_measure(0.6, 0.9)
    assert f_measure(0, 0) == 0


def test_no_photo_has_no_figures():
    with pytest.raises(ValueError, match="no photo"):
        MaskMeasures().figures()
