"""Decompresses the records of a batch, whichever of Kafka's codecs its producer used.

Owns the limit on decompressed bytes: a batch of a megabyte may claim gigabytes. The libraries are
imported on first use, so that a missing one fails a batch and not the process.
"""

import io
import zlib
from collections.abc import Callable, Mapping

MAX_BYTES = 128 * 2**20
"""Decompressed bytes of one batch; a broker takes at most 1 MiB by default, before compression."""

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""The names of Kafka's codecs, by the number in a batch's attributes."""

_CHUNK_BYTES = 2**18
_XERIAL = b"\x82SNAPPY\x00"  # the framing of the Java client: blocks, each with its length
_XERIAL_HEADER_BYTES = 16


class DecompressionError(ValueError):
    """The bytes are not what the codec expects, or are too many."""


def decompress(codec: str, data: bytes, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the decompressed bytes.

    Raises:
        DecompressionError: the codec is unknown, the data is damaged or incomplete, or it has more
            than `max_bytes`.
        ImportError: the codec's library is not installed.
    """
    if codec == "none":
        return data
    if codec not in _DECOMPRESS:
        raise DecompressionError(f"the codec is {codec}, expected one of {', '.join(CODECS)}")
    try:
        return _DECOMPRESS[codec](data, max_bytes)
    except (DecompressionError, ImportError):
        raise
    except Exception as error:
        # Each library has errors of its own, and some raise plain RuntimeError.
        raise DecompressionError(f"{codec}: {type(error).__name__}: {error}") from error


def _gzip(data: bytes, max_bytes: int) -> bytes:
    found = bytearray()
    while data:  # a stream may have several members
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(data, max_bytes + 1 - len(found))
        _check_size(len(found), max_bytes)
        if not member.eof:
            raise DecompressionError("gzip: the data is incomplete")
        data = member.unused_data
    return bytes(found)


def _snappy(data: bytes, max_bytes: int) -> bytes:
    import snappy

    if not data.startswith(_XERIAL):
        _check_size(_snappy_size(data), max_bytes)
        return bytes(snappy.uncompress(data))
    found, position = bytearray(), _XERIAL_HEADER_BYTES
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        block = data[position + 4 : position + 4 + length]
        if len(block) != length:
            raise DecompressionError("snappy: the data is incomplete")
        _check_size(len(found) + _snappy_size(block), max_bytes)
        found += snappy.uncompress(block)
        position += 4 + length
    return bytes(found)


def _snappy_size(block: bytes) -> int:
    """Return the decompressed size that a block begins with, a varint."""
    size = 0
    for index, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return size
    raise DecompressionError("snappy: the data has no size")


def _lz4(data: bytes, max_bytes: int) -> bytes:
    import lz4.frame

    frame = lz4.frame.LZ4FrameDecompressor()
    found = bytearray()
    while not frame.eof:
        chunk = frame.decompress(data, max_length=_CHUNK_BYTES)
        data = b""  # the decompressor keeps what it has not used
        if chunk == b"" and not frame.eof:
            raise DecompressionError("lz4: the data is incomplete")
        found += chunk
        _check_size(len(found), max_bytes)
    return bytes(found)


def _zstd(data: bytes, max_bytes: int) -> bytes:
    import zstandard

    found = bytearray()
    decompressor = zstandard.ZstdDecompressor()
    with decompressor.stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            found += chunk
            _check_size(len(found), max_bytes)
    return bytes(found)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DecompressionError(
            f"the records have more than {max_bytes:,} bytes after decompression"
        )


_DECOMPRESS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "snappy": _snappy,
    "lz4": _lz4,
    "zstd": _zstd,
}
