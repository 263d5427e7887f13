"""What a task declares to read is checked when the task is defined."""

import pytest

from ops.errors import ConfigurationError
from ops.tasks import Inputs


def test_a_task_reads_something():
    with pytest.raises(ConfigurationError, match="reads nothing"):
        Inputs()


@pytest.mark.parametrize("side", [0, 31, 641, -1])
def test_pixels_are_within_a_renditions_size(side):
    with pytest.raises(ConfigurationError, match="32 to 640"):
        Inputs(pixels=side)


def test_only_embeddings_is_the_fast_lane():
    """Anything else needs a join or a rendition."""
    assert Inputs(embedding=True).only_embeddings
    assert Inputs(embedding=True).view is None
    for more in ({"fields": True}, {"pixels": 64}, {"answers": ("category",)}):
        assert not Inputs(embedding=True, **more).only_embeddings
    key, how = Inputs(pixels=64).view
    assert (key, how.size, how.resize) == ("pixels/64", 64, "squash")


def test_a_rendition_is_a_view_of_its_own():
    """Beside pixels; without resizing."""
    assert list(Inputs(pixels=64, rendition=True).views) == ["pixels/64", "rendition"]
    assert Inputs(rendition=True).view is None
    of = Inputs(rendition=True).views["rendition"]
    assert of.pixels != Inputs(pixels=64).views["pixels/64"].pixels
    assert Inputs(embedding=True).views == {}
