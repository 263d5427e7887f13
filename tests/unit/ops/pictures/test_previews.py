"""Previews: each is an image of a reasonable size, also without data."""

import io

import numpy as np
from PIL import Image

from ops.pictures.previews import (
    as_markdown,
    bars,
    confusion_matrix,
    contact_sheet,
    curve,
    histogram,
    scores,
)
from tests.support.odd_photos import jpeg, noisy


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_a_contact_sheet_grows_by_rows_of_five() -> None:
    """Each photo is on the sheet, and the sheet is small enough for an event log."""
    photos = [(jpeg(noisy(300, 200 + n)), f"chair {n}%") for n in range(20)]
    sheet = contact_sheet(photos)
    assert opened(sheet).size == (5 * 112, 4 * 128)
    assert len(sheet) < 120_000
    one = opened(contact_sheet(photos[:1]))
    assert one.size == (2 * 112, 128)
    three_lines = (photos[0][0], "filed chair\nsaid lamp\n97% sure")
    captioned = opened(contact_sheet([three_lines, photos[1]]))
    assert captioned.size == (2 * 112, 112 + 3 * 16)
    lowest = np.asarray(captioned.convert("L"))[112 + 2 * 16 :]
    assert lowest[:, :112].min() < 100 < 200 < lowest[:, 112:].min()  # a third line, on the left


def test_photos_are_drawn_where_they_belong() -> None:
    """The second tile shows the second photo."""
    red, blue = (Image.new("RGB", (100, 100), colour) for colour in ("red", "blue"))
    sheet = opened(contact_sheet([(jpeg(red), ""), (jpeg(blue), "")]))
    left, right = np.asarray(sheet)[50, 50], np.asarray(sheet)[50, 112 + 50]
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


def test_empty_data_is_drawn_too() -> None:
    """An empty period gives an image that says so, not an error."""
    assert opened(contact_sheet([])).size == (2 * 112, 128)
    for empty in (
        histogram([], title="t", x_label="x"),
        bars({}, title="t"),
        confusion_matrix(np.zeros((0, 0), np.int64), [], title="t"),
        scores([0.0, 0.5, 1.0], [0, 0], [0, 0], title="t"),
        curve([], title="t", y_label="loss"),
    ):
        assert opened(empty).width > 100


def test_unusual_values_are_drawn() -> None:
    """Equal values, zeros and values of very different size give a histogram."""
    for values in ([5.0] * 4, [0.0, 0.0], [0.1, 1e9], [3.0]):
        assert opened(histogram(values, title="t", x_label="ms", log_x=True)).width > 100


def test_scores_and_curves_are_drawn() -> None:
    """Also with one step, and with bins without photos."""
    some = scores([0.0, 0.5, 1.0], [0, 3], [1, 2], title="t")
    assert opened(some).width > 100 and some != scores([0.0, 0.5, 1.0], [0, 3], [0, 0], title="t")
    for values in ([2.0], [2.0, 1.0] * 300):
        assert opened(curve(values, title="t", y_label="loss")).width > 100


def test_markdown_carries_the_image() -> None:
    """The media type is that of the bytes."""
    assert as_markdown(contact_sheet([])).startswith("![preview](data:image/jpeg;base64,")
    assert as_markdown(bars({"a": 1}, title="t")).startswith("![preview](data:image/png;base64,")
