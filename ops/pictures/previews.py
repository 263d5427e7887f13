"""Draws contact sheets, histograms and confusion matrices as small images.

Owns sizes and colours. Does not depend on where the images are shown. matplotlib is imported on
first use.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ops.isolation import describe, divided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 112
CAPTION = 16
CAPTION_CHARS = 18
COLUMNS = 5
"""As wide as a column of metadata in Dagster's UI on a small screen."""

INK = "#22313f"
BAR = "#3d6fb6"
WRONG = "#c8553d"
SMOOTHED_STEPS = 50
EMBEDDED_BYTES = 12_000
"""Bytes of an image that is embedded in metadata: base64 makes 16 KB of them."""

_SMALLEST = 0.1

log = structlog.get_logger()


def contact_sheet(photos: Sequence[tuple[bytes, str]]) -> bytes:
    """Draw photos with their captions in rows of five, as a JPEG of a few tens of kilobytes.

    Args:
        photos: (JPEG bytes, caption of one or more lines); without photos the sheet says so.
    """
    rows = max(1, -(-len(photos) // COLUMNS))
    columns = min(COLUMNS, max(2, len(photos)))
    lines = max((caption.count("\n") + 1 for _, caption in photos), default=1)
    height = TILE + lines * CAPTION
    sheet = Image.new("RGB", (columns * TILE, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    if not photos:
        draw.text((8, 8), "no photos in this period", fill=INK, font=font)
    for index, (data, caption) in enumerate(photos):
        left, top = index % COLUMNS * TILE, index // COLUMNS * height
        for photo in divided([data], _tiles, _no_tile):
            sheet.paste(photo, (left + (TILE - photo.width) // 2, top + (TILE - photo.height) // 2))
        for number, line in enumerate(caption.split("\n")):
            place = (left + 4, top + TILE - 1 + number * CAPTION)
            draw.text(place, line[:CAPTION_CHARS], fill=INK, font=font)
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=72)
    return out.getvalue()


def _tiles(photos: Sequence[bytes]) -> list[Image.Image]:
    tiles = []
    for data in photos:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as photo:
            photo.draft("RGB", (TILE, TILE))
            photo.thumbnail((TILE - 4, TILE - 4))
            tiles.append(photo.copy())
    return tiles


def _no_tile(_data: bytes, error: BaseException) -> tuple[()]:
    """A place without a photo: the picture shows the others."""
    log.error("picture.photo_failed", error=describe(error))
    return ()


def histogram(
    values: Sequence[float],
    *,
    title: str,
    x_label: str,
    log_x: bool = False,
    counts: Sequence[int] | None = None,
) -> bytes:
    """Draw a histogram as PNG; without values the image says so.

    Args:
        counts: the number of occurrences of each value; None: one each.
    """
    figure, axes = _figure(title)
    if len(values) == 0 or (counts is not None and sum(counts) == 0):
        return _empty(figure, axes)
    if log_x:
        low = max(min(values), 1.0)
        high = max(max(values), low * 2)
        axes.hist(values, bins=np.geomspace(low, high, 40).tolist(), color=BAR)
        axes.set_xscale("log")
    else:
        axes.hist(values, bins=30, color=BAR, weights=counts)
    axes.set_xlabel(x_label)
    return _png(figure)


def bars(counts: Mapping[str, int], *, title: str) -> bytes:
    """Draw counts by name as PNG, the highest on top."""
    figure, axes = _figure(title)
    ordered = sorted(counts.items(), key=lambda item: item[1])[-20:]
    axes.barh([name for name, _ in ordered], [count for _, count in ordered], color=BAR)
    return _png(figure)


def confusion_matrix(matrix: NDArray[np.int64], labels: Sequence[str], *, title: str) -> bytes:
    """Draw a (C, C) matrix of counts as PNG, rows true, columns predicted; without labels the image
    says so."""
    figure, axes = _figure(title, size=(5.6, 5.2))
    if not labels:
        return _empty(figure, axes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= 24:
        for (row, column), count in np.ndenumerate(matrix):
            if count > 0:
                colour = "white" if shares[row, column] > 0.5 else INK
                axes.text(
                    column, row, str(count), ha="center", va="center", fontsize=6, color=colour
                )
    return _png(figure)


def scores(
    edges: Sequence[float], right: Sequence[int], wrong: Sequence[int], *, title: str
) -> bytes:
    """Draw the scores of right and wrong predictions, and the calibration of the scores, as PNG.

    The line is the share of right predictions by score; on the dotted diagonal scores are
    calibrated.

    Args:
        edges: B + 1 edges of B bins in [0, 1].
        right: photos with a right prediction, by bin of the best score.
        wrong: photos with a wrong prediction, by bin of the best score.
    """
    figure, axes = _figure(title)
    if sum(right) + sum(wrong) == 0:
        return _empty(figure, axes)
    edge = np.asarray(edges)
    middles, widths = (edge[:-1] + edge[1:]) / 2, np.diff(edge) * 0.9
    axes.bar(middles, right, widths, color=BAR, label="right")
    axes.bar(middles, wrong, widths, bottom=right, color=WRONG, label="wrong")
    axes.set_xlabel("score of the label chosen")
    axes.set_ylabel("photos")
    share = axes.twinx()
    total = np.asarray(right) + np.asarray(wrong)
    known = total > 0
    share.plot([0, 1], [0, 1], ":", color=INK, linewidth=0.8)
    share.plot(
        middles[known],
        np.asarray(right)[known] / total[known],
        "o-",
        color=INK,
        linewidth=1,
        markersize=3,
        label="share that is right",
    )
    share.set_ylim(0, 1.05)
    share.tick_params(labelsize=8)
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return _png(figure)


def curve(values: Sequence[float], *, title: str, y_label: str) -> bytes:
    """Draw the value of each step and its moving average as PNG; without values the image says
    so."""
    figure, axes = _figure(title)
    if len(values) == 0:
        return _empty(figure, axes)
    axes.plot(values, color=BAR, linewidth=0.6, alpha=0.4)
    window = max(1, min(SMOOTHED_STEPS, len(values) // 5))
    mean = np.convolve(values, np.full(window, 1 / window), "valid")
    axes.plot(np.arange(len(mean)) + window - 1, mean, color=BAR, linewidth=1.6)
    axes.set_xlabel("step")
    axes.set_ylabel(y_label)
    return _png(figure)


def as_markdown(image: bytes) -> str:
    """An image as Markdown with a data URL, for a page that can't fetch files."""
    kind = "jpeg" if image[:2] == b"\xff\xd8" else "png"
    return f"![preview](data:image/{kind};base64,{base64.b64encode(image).decode()})"


def shrunk(image: bytes, max_bytes: int = EMBEDDED_BYTES) -> bytes:
    """An image as a smaller one of at most so many bytes, if it is larger; for embedding.

    Drawings get fewer colours, photos less quality, and both fewer pixels as far as it needs.
    """
    data, scale = image, 1.0
    while len(data) > max_bytes and scale > _SMALLEST:
        with Image.open(io.BytesIO(image)) as opened:
            is_photo = opened.format == "JPEG"
            size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
            small = opened.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        if is_photo:
            small.save(out, "JPEG", quality=60, optimize=True)
        else:
            small.quantize(32).save(out, "PNG", optimize=True)
        data, scale = out.getvalue(), scale * 0.8
    return data


def _figure(title: str, size: tuple[float, float] = (5.6, 3.0)) -> "tuple[Figure, Axes]":
    # Figure without pyplot: no global state, no backend, thread-safe.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=90, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, color=INK)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _empty(figure: "Figure", axes: "Axes") -> bytes:
    axes.text(0.5, 0.5, "no data in this period", ha="center", transform=axes.transAxes)
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
