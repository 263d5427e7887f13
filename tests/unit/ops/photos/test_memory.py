"""What a photo costs: the memory, by its header, and the parts of a file that are read at all."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.errors import BadInputError, Reason
from ops.photos.memory import decode_bytes
from ops.photos.rendition import make_rendition
from tests.support import odd_photos as odd

MEASURE = """
import sys
from pathlib import Path
from ops.photos.rendition import make_rendition

make_rendition(Path(sys.argv[1]).read_bytes(), max_pixels=10**8)  # what is loaded once
data = sys.stdin.buffer.read()
Path("/proc/self/clear_refs").write_text("5")

def peak():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024

before = peak()
make_rendition(data, max_pixels=10**8)
print(peak() - before)
"""
BASE = odd.noisy(300, 200).resize((3000, 2000))
PHOTOS = {
    "JPEG": lambda image: odd.jpeg(image),
    "JPEG, progressive": lambda image: odd.jpeg(image, progressive=True, subsampling=0),
    "JPEG, CMYK": lambda image: odd.jpeg(image.convert("CMYK")),
    "PNG": lambda image: odd.save(image, "PNG", compress_level=1),
    "PNG, cut": lambda image: odd.save(image, "PNG", compress_level=1)[:-60],
    "WebP": lambda image: odd.save(image, "WEBP", method=0),
    "GIF": lambda image: odd.save(image, "GIF"),
    "AVIF": lambda image: odd.save(image, "AVIF", speed=10),
    "HEIC": lambda image: odd.heic(image, quality=50),
    "BMP": lambda image: odd.save(image, "BMP"),
    "TIFF": lambda image: odd.save(image, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("encode", PHOTOS.values(), ids=PHOTOS.keys())
def test_no_photo_takes_more_than_its_estimate(encode: object, tmp_path: Path) -> None:
    """Six million pixels, measured in a process of its own."""
    assert callable(encode)
    data = encode(BASE)
    (tmp_path / "small").write_bytes(encode(odd.noisy(60, 40)))
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "small")],
        input=data,
        capture_output=True,
        check=True,
        cwd=Path(odd.__file__).parents[2],
    ).stdout
    assert int(output) <= decode_bytes(data) + 4_000_000
    assert decode_bytes(data) > 0


def test_the_estimate_follows_the_claim() -> None:
    """Of a few bytes that claim many pixels; a JPEG is decoded at a smaller scale."""
    assert decode_bytes(odd.webp_claiming(5_000, 5_000)) > 400_000_000
    assert decode_bytes(odd.png_claiming(5_000, 5_000)) > 100_000_000
    assert decode_bytes(odd.avif_claiming(5_000, 5_000, coded=(96, 64))) > 400_000_000
    assert decode_bytes(odd.jpeg_claiming(7_000, 7_000)) < 30_000_000
    assert decode_bytes(b"") == decode_bytes(b"%PDF") == 0


FLOODED = {
    "JPEG, markers alone": (b"\xff\xd8" + b"\xff\xd0" * 20_000, "10000 markers"),
    "JPEG, empty comments": (b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000 + odd.jpeg()[2:], "markers"),
    "JPEG, empty tables": (b"\xff\xd8" + b"\xff\xc4\0\2" * 20_000 + odd.jpeg()[2:], "markers"),
    "GIF, empty extensions": (b"GIF89a" + bytes(7) + b"\x21\xfe\0" * 99_999, "50000 blocks"),
    "GIF, a long comment": (b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\1a" * 99_999, "50000 blocks"),
    "PNG, empty chunks": (
        odd.png_claiming(64, 64)[:33] + odd.png_chunk(b"IDAT", b"") * 100_001,
        "100000 chunks",
    ),
    "HEIC, empty boxes": (odd.heic() + b"\0\0\0\x08free" * 2_000, "1000 boxes"),
    "AVIF, parts alone": (odd.avif_with_extents(200, 1_000_000), "more bytes than the file"),
}


@pytest.mark.parametrize(("data", "why"), FLOODED.values(), ids=FLOODED.keys())
def test_a_file_of_structure_alone_is_refused(data: bytes, why: str) -> None:
    """Read to their end, they take seconds; an AVIF's overlapping parts take gigabytes."""
    with pytest.raises(BadInputError, match=why) as caught:
        make_rendition(data, max_pixels=10**8)
    assert caught.value.reason is Reason.PHOTO_BROKEN


def test_fill_bytes_before_a_marker_are_no_markers() -> None:
    """There may be any number of them."""
    data = odd.jpeg()
    filled = data[:2] + b"\xff" * 1_000_000 + data[2:]
    assert make_rendition(filled, max_pixels=10**8).width == 96
    assert decode_bytes(filled) == decode_bytes(data)


CORRUPTIBLE = [encode(odd.noisy(60, 40)) for encode in PHOTOS.values()]


@settings(max_examples=600, deadline=None)
@given(data=st.sampled_from(CORRUPTIBLE), seed=st.integers(0, 2**32))
def test_corruption_never_raises(data: bytes, seed: int) -> None:
    """What can't be estimated is 0; the decoder finds the reason."""
    rng, corrupted = random.Random(seed), bytearray(data)
    for _ in range(rng.randrange(12)):
        corrupted[rng.randrange(min(300, len(corrupted)))] = rng.randrange(256)
    del corrupted[rng.randrange(len(corrupted)) :]
    assert decode_bytes(bytes(corrupted)) >= 0
