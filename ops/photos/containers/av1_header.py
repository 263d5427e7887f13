"""Reads the size of coded AV1 pictures from their sequence headers.

https://aomediacodec.github.io/av1-spec/#sequence-header-obu-syntax
"""

from ops.photos.formats import broken

_SEQUENCE_HEADER = 1
_MAX_UNITS = 1_000
"""A picture has a few, and one for each of its tiles at most."""


def coded_size(data: bytes) -> tuple[int, int] | None:
    """The largest (width, height) that AV1 data declares; None where it declares none.

    Raises:
        BadInputError: PHOTO_BROKEN, too many units.
    """
    sizes = []
    at = n_units = 0
    while at < len(data):
        n_units += 1
        if n_units > _MAX_UNITS:
            raise broken("avif", f"a picture of more than {_MAX_UNITS} units")
        header = data[at]
        at += 2 if header & 4 else 1
        length = len(data) - at
        if header & 2:
            length, at = _leb128(data, at)
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            sizes.append(_sequence_size(_Bits(data[at : at + length])))
        at += length
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next one starts."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    return value, at + 8


class _Bits:
    """Reads bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data[:256], "big")
        self.left = 8 * min(256, len(data))

    def read(self, n: int) -> int:
        self.left -= n
        if self.left < 0:
            raise IndexError
        return self.value >> self.left & (1 << n) - 1


def _sequence_size(bits: _Bits) -> tuple[int, int]:
    bits.read(4)  # profile, still picture
    if bits.read(1):  # reduced header
        bits.read(5)
    else:
        _skip_operating_points(bits, _skip_timing(bits))
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_timing(bits: _Bits) -> int:
    """Skip the timing information; the bits of a buffer delay, 0 without a decoder model."""
    if not bits.read(1):
        return 0
    bits.read(64)
    if bits.read(1):  # equal intervals: a variable-length number
        zeros = 0
        while not bits.read(1):
            zeros += 1
        bits.read(zeros if zeros < 32 else 0)
    if not bits.read(1):
        return 0
    delay_bits = bits.read(5) + 1
    bits.read(42)
    return delay_bits


def _skip_operating_points(bits: _Bits, delay_bits: int) -> None:
    delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if delays and bits.read(1):
            bits.read(4)
