"""Photos that are damaged a little are used as Pillow reads them; a missing end is noted."""

from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile

from ops.errors import BadInputError, Reason
from ops.photos.rendition import make_rendition
from ops.types import PhotoNote, Rendition
from tests.support import odd_photos as odd

NOISY = odd.jpeg(odd.noisy(400, 300))
PROGRESSIVE = odd.jpeg(odd.noisy(400, 300), progressive=True)
PNG = odd.save(odd.noisy(200, 150), "PNG")


def render(data: bytes) -> Rendition:
    return make_rendition(data, max_pixels=50_000_000)


def by_pillow(data: bytes, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What Pillow reads of a photo that lacks its end, at the rendition's size."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = Image.open(BytesIO(data)).convert("RGB")
    image.thumbnail((640, 640), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(image).astype(int)


def difference(rendition: Rendition, expected: np.ndarray) -> float:
    """The largest difference of the means of 8x8 blocks: the encoder's noise cancels out."""
    found = np.asarray(Image.open(BytesIO(rendition.data)).convert("RGB")).astype(int)
    assert found.shape == expected.shape
    height, width = (side // 8 * 8 for side in found.shape[:2])
    blocks = (found - expected)[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
    return float(np.abs(blocks.mean((1, 3))).max())


def with_stray_byte(data: bytes, marker: bytes) -> bytes:
    at = data.index(marker)
    return data[:at] + b"\x2a" + data[at:]


WARNED = {
    "scan header": odd.jpeg_with_odd_scan_header(),
    "stray byte before a table": with_stray_byte(NOISY, b"\xff\xdb"),
    "stray byte before the frame": with_stray_byte(NOISY, b"\xff\xc0"),
    "stray byte before the scan": with_stray_byte(NOISY, b"\xff\xda"),
    "restart markers out of order": odd.jpeg(odd.noisy(400, 300), restart_marker_rows=4).replace(
        b"\xff\xd1", b"\xff\xd2", 1
    ),
    "wrong bits": NOISY[:20_000] + b"\x00\x00\x00" + NOISY[20_003:],
    "padding before the end": NOISY[:-2] + b"\x11" * 200 + b"\xff\xd9",
}


@pytest.mark.parametrize("data", WARNED.values(), ids=WARNED.keys())
def test_what_libjpeg_only_warns_about_is_read_as_pillow_reads_it(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a JPEG is usable, and its rendition decodes without a warning."""
    rendition = render(data)
    assert rendition.note is None
    assert difference(rendition, by_pillow(data, monkeypatch)) < 8
    assert simplejpeg.decode_jpeg(rendition.data).shape == (rendition.height, rendition.width, 3)
    assert render(rendition.data).data == rendition.data


INCOMPLETE = {
    "JPEG, last byte": NOISY[:-1],
    "JPEG, end marker": NOISY[:-2],
    "JPEG, three bytes": NOISY[:-3],
    "JPEG, 99 % of the rows": odd.jpeg_cut(0.99),
    "JPEG, large": odd.jpeg(odd.noisy(1300, 900))[:-40],
    "JPEG, grey": odd.jpeg(odd.noisy(400, 300).convert("L"))[:-10],
    "JPEG, CMYK": odd.jpeg(odd.noisy(400, 300).convert("CMYK"))[:-10],
    "JPEG, restart markers": odd.jpeg(odd.noisy(400, 300), restart_marker_blocks=5)[:-30],
    "JPEG, progressive": PROGRESSIVE[:-2],
    "JPEG, progressive, last scan": PROGRESSIVE[:-60],
    "JPEG, with an end marker after all": NOISY[:-30] + b"\xff\xd9",
    "PNG, end marker": PNG[:-12],
    "PNG, end marker in part": PNG[:-3],
    "PNG, checksum": PNG[:-14],
    "PNG, 99 % of the rows": odd.png_cut(0.99),
    "PNG, palette": odd.save(odd.noisy(200, 150).quantize(64), "PNG")[:-40],
}


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_a_photo_without_its_end_is_used_and_noted(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nearly all rows are there; the pixels are those that Pillow reads."""
    rendition = render(data)
    assert rendition.note is PhotoNote.PHOTO_INCOMPLETE
    assert difference(rendition, by_pillow(data, monkeypatch)) < 6
    assert simplejpeg.decode_jpeg(rendition.data).shape == (rendition.height, rendition.width, 3)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.97])
@pytest.mark.parametrize("cut", [odd.jpeg_cut, odd.png_cut], ids=["JPEG", "PNG"])
def test_a_photo_with_fewer_rows_is_refused(cut: object, share: float) -> None:
    """Less than 98 % of the rows; the message says how many are there."""
    assert callable(cut)
    with pytest.raises(BadInputError, match="are there") as caught:
        render(cut(share))
    assert caught.value.reason is Reason.PHOTO_TRUNCATED


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_progressive_jpeg_without_its_last_scans_is_refused(lost: int) -> None:
    """Every scan covers all rows, so that the missing ones would blur all of them."""
    starts = [at for at in range(len(PROGRESSIVE)) if PROGRESSIVE.startswith(b"\xff\xda", at)]
    with pytest.raises(BadInputError) as caught:
        render(PROGRESSIVE[: starts[-lost]])
    assert caught.value.reason is Reason.PHOTO_TRUNCATED


def test_a_complete_photo_has_no_note() -> None:
    """Whatever follows its end."""
    for data in (NOISY, PNG, PROGRESSIVE, NOISY + b"junk", PNG + b"junk"):
        assert render(data).note is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (odd.jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"), "12-bit JPEG"),
        (odd.jpeg().replace(b"\xff\xc0", b"\xff\xc3"), "lossless JPEG"),
        (odd.save(odd.picture(), "JPEG2000"), "a JPEG 2000"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"<svg/>", "an SVG"),
        (b"<?xml version='1.0'?><svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "an MP4 video"),
        (bytes(100), "an unknown format"),
    ],
)
def test_a_refusal_names_the_format(data: bytes, name: str) -> None:
    """So that the seller can save it as another one."""
    with pytest.raises(BadInputError, match=f": {name}") as caught:
        render(data)
    assert caught.value.reason is Reason.PHOTO_UNKNOWN_FORMAT
