"""Kafka's format of record batches, version 2: the header, the checksum, and the records.

Source: https://kafka.apache.org/documentation/#recordbatch. Raises ValueError or IndexError on
bytes that are not in the format. Batches of versions 0 and 1 are decoded by kafka-python.
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from resources.kafka.record_headers import Headers
from resources.kafka.records.compression import CODECS, decompress

PREFIX = struct.Struct(">qi")  # base offset and length, in every version
MAGIC_AT = 16
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_FROM = 21  # the CRC covers the bytes from the attributes to the end
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_ABORT = 0


class Header(NamedTuple):
    """The header of a batch of version 2."""

    base_offset: int
    length: int  # of what follows it
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    newest_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def codec(self) -> str:
        """The codec's name, or its number where the format has no such codec."""
        number = self.attributes & _CODEC
        return CODECS[number] if number < len(CODECS) else f"number {number}"

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it is the marker of a transaction's end, and has no records for a reader."""
        return bool(self.attributes & _CONTROL)

    @property
    def newest(self) -> datetime | None:
        """The latest timestamp, UTC; None if it is none."""
        try:
            seconds = self.newest_ms / 1000
            return datetime.fromtimestamp(seconds, UTC) if seconds >= 0 else None
        except (OverflowError, ValueError, OSError):
            return None  # a producer may write any number


class Record(NamedTuple):
    """One record of a batch."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def header_of(data: bytes, start: int) -> Header | None:
    """Return the header at a position; None where the bytes end before it does."""
    if len(data) - start < _HEADER.size:
        return None
    return Header(*_HEADER.unpack_from(data, start))


def damage_of(data: bytes, start: int, end: int) -> str | None:
    """Return what is wrong with a batch's header or checksum; None if nothing is."""
    from crc32c import crc32c

    if end > len(data):
        return f"its length is {end - start} bytes, of which the broker sent {len(data) - start}"
    if end - start <= MAGIC_AT:
        return f"its length is {end - start} bytes"
    magic = data[start + MAGIC_AT]
    if magic not in (0, 1, 2):
        return f"its format has the version {magic}, expected 0 to 2"
    if magic != 2:
        return None  # its checksums are those of its records
    header = header_of(data, start)
    if header is None or end - start < _HEADER.size:
        return f"its length is {end - start} bytes, shorter than a header"
    if crc32c(data[start + _CRC_FROM : end]) != header.crc:
        return "its CRC does not match its bytes"
    if header.last_offset_delta < 0 or header.records < 0:
        return f"it has {header.records} records up to offset delta {header.last_offset_delta}"
    return None


def decode_records(header: Header, data: bytes, start: int, end: int) -> Iterator[Record]:
    """Yield the records of the batch at these positions.

    Raises:
        DecompressionError: or ImportError, see `decompress`.
        ValueError: or IndexError: a record is not in the format.
    """
    data = decompress(header.codec, data[start + _HEADER.size : end])
    position = following = 0
    for _ in range(header.records):
        length, position = _varint(data, position)
        end = position + length
        if length < 0 or end > len(data):
            raise ValueError(f"a record has {length} bytes, {len(data) - position} are left")
        delta_ms, position = _varint(data, position + 1)  # the record's attributes are unused
        delta, position = _varint(data, position)
        if not following <= delta <= header.last_offset_delta:
            expected = f"expected {following} to {header.last_offset_delta}"
            raise ValueError(f"a record has the offset delta {delta}, {expected}")
        following = delta + 1
        key, position = _nullable(data, position, end)
        value, position = _nullable(data, position, end)
        headers, position = _headers(data, position, end)
        if position != end:
            raise ValueError(f"a record is longer than its fields, by {end - position} bytes")
        timestamp_ms = (
            header.newest_ms if header.attributes & _APPEND_TIME else header.first_ms + delta_ms
        )
        yield Record(header.base_offset + delta, timestamp_ms, key, value, headers)
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes are left after {header.records} records")


def is_abort(header: Header, data: bytes, start: int, end: int) -> bool:
    """Whether a control batch ends its transaction by an abort; raises as `decode_records`.

    Compaction may remove the marker and keep its batch, for the producer's sequence numbers.
    """
    marker = next(decode_records(header, data, start, end), None)
    if marker is None:
        return False
    key = marker.key or b""
    if len(key) < 4:
        raise ValueError(f"a transaction's marker has a key of {len(key)} bytes, expected 4")
    return bool(struct.unpack_from(">hh", key)[1] == _ABORT)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a zigzag varint, and the position after it."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number has more than ten bytes")
    return (value >> 1) ^ -(value & 1), position


def _nullable(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = _varint(data, position)
    if length < 0:
        return None, position
    if position + length > end:
        raise ValueError(f"a field has {length} bytes, {end - position} are left in its record")
    return data[position : position + length], position + length


def _headers(data: bytes, position: int, end: int) -> tuple[Headers, int]:
    """Return the headers, without loss: see `record_headers.py`."""
    count, position = _varint(data, position)
    if count == 0:
        return (), position
    if count < 0 or count > end - position:
        raise ValueError(f"a record has {count} headers")
    headers = []
    for _ in range(count):
        key, position = _nullable(data, position, end)
        value, position = _nullable(data, position, end)
        headers.append(((key or b"").decode(errors="surrogateescape"), value))
    return tuple(headers), position
