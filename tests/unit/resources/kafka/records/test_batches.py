"""Fetched batches: decoded as kafka-python decodes them, and a bad one harms nothing beside it."""

import struct
from collections.abc import Sequence

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from resources.kafka.record_headers import restored, stored
from resources.kafka.records.batches import FetchedRecords, UnreadableBatch
from resources.kafka.records.compression import CODECS, DecompressionError, decompress

GZIP, ZSTD = 1, 4
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]

SENT = st.tuples(
    st.integers(0, 2**45),
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=400),
    st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=3),
)


def batch(records: Sequence[Sent], *, base: int = 0, codec: int = 0) -> bytes:
    """A batch as kafka-python's producer writes it."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=2**24)
    for timestamp_ms, key, value, headers in records:
        builder.append(timestamp_ms, key, value, headers)
    builder.close()
    return struct.pack(">q", base) + bytes(builder.buffer())[8:]  # the broker gives the offset


def simple(*values: bytes, base: int = 0, codec: int = 0) -> bytes:
    return batch([(1, b"k", value, []) for value in values], base=base, codec=codec)


def sealed(data: bytes) -> bytes:
    """The batch with the checksum that its bytes have now."""
    return data[:17] + struct.pack(">I", crc32c(data[21:])) + data[21:]


def marked(data: bytes, attributes: int, producer: int) -> bytes:
    """The batch as one of a transactional producer: 0x10, a control batch: 0x20 more."""
    changed = data[:21] + struct.pack(">h", attributes) + data[23:]
    return sealed(changed[:43] + struct.pack(">q", producer) + changed[51:])


def fetched(data: bytes, position: int = 0, **others) -> FetchedRecords:
    return FetchedRecords("ads", 3, data, position=position, **others)


def values(records: FetchedRecords) -> list[bytes | None]:
    return [record.value for record in records.take(10_000)]


@given(st.lists(SENT, min_size=1, max_size=20), st.integers(0, 4), st.integers(0, 2**40))
def test_records_are_decoded_as_kafka_python_decodes_them(sent: list[Sent], codec: int, base: int):
    """Offset, timestamp, key, value and headers, in every codec."""
    data = batch(sent, base=base, codec=codec)
    expected = [
        (r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
        for one in MemoryRecords(data)
        for r in one
    ]
    records = fetched(data, base)
    found = [
        (r.offset, r.timestamp_ms, r.key, r.value, r.headers) for r in records.take(len(sent) + 1)
    ]
    assert found == expected
    assert records.done and records.unreadable is None
    assert records.next_offset == records.end_offset == base + len(sent)


@pytest.mark.parametrize("codec", range(3))
@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_old_formats_are_decoded(magic: int, codec: int):
    builder = MemoryRecordsBuilder(magic=magic, compression_type=codec, batch_size=2**20)
    for number in range(3):
        builder.append(7, b"k", b"%d" % number)
    builder.close()
    records = fetched(bytes(builder.buffer()))
    assert values(records) == [b"0", b"1", b"2"]
    assert records.unreadable is None and records.next_offset == 3


def test_records_before_the_position_are_not_returned():
    """A broker sends the whole batch that the position is in."""
    records = fetched(simple(b"a", b"b", b"c", base=10), 11)
    assert values(records) == [b"b", b"c"]


def test_a_batch_that_is_cut_short_is_left_for_the_next_fetch():
    first, second = simple(b"a"), simple(b"b", base=1)
    records = fetched(first + second[:-1])
    assert values(records) == [b"a"]
    assert records.unreadable is None and records.end_offset == 1


def test_headers_lose_nothing_of_their_bytes():
    """A key that is not UTF-8, a value that is null; also through a dead letter's row."""
    sent = [("tr#", b"1"), ("null", None), ("", b""), ("nul\0", b"\0\xff")]
    data = sealed(batch([(1, b"k", b"ad", sent)]).replace(b"tr#", b"tr\xff"))
    (record,) = fetched(data).take(2)
    assert record.value == b"ad"
    assert record.headers == (("tr\udcff", b"1"), *sent[1:])
    assert restored(stored(record.headers)) == record.headers


def unreadable(data: bytes, **others) -> tuple[list[bytes | None], UnreadableBatch]:
    """What is read between two good batches' records, and the batch that is not."""
    records = fetched(data, **others)
    found = values(records)
    assert records.done and records.unreadable is not None
    return found, records.unreadable


def test_a_damaged_batch_is_named_and_what_is_before_it_is_read():
    """Its offsets are those of its header; the next batch says where it ends at the latest."""
    good, bad, after = simple(b"a"), bytearray(simple(b"b", b"c", base=1)), simple(b"d", base=3)
    bad[-1] ^= 1
    found, batch_ = unreadable(good + bytes(bad) + after)
    assert found == [b"a"]
    assert (batch_.topic, batch_.partition) == ("ads", 3)
    assert (batch_.offset, batch_.next_offset, batch_.base_offset) == (1, 3, 1)
    assert batch_.data == bytes(bad)
    assert "offsets 1 to 2" in str(batch_) and "CRC" in str(batch_)


def test_a_damaged_batch_that_was_skipped_is_passed():
    """Also where its header claims more offsets than it has, and the broker sends it again."""
    bad = bytearray(simple(b"b", base=1))
    bad[23:27] = struct.pack(">i", 1_000)  # the last offset delta, under the old checksum
    after = simple(b"c", base=2)
    _, batch_ = unreadable(bytes(bad) + after, position=1)
    assert batch_.next_offset == 2, "the next batch begins there"
    assert values(fetched(bytes(bad) + after, 2, skipped={1})) == [b"c"]


def test_a_codec_that_nobody_knows_stops_at_its_batch():
    bad = bytearray(simple(b"b", base=1))
    bad[22] = 6
    found, batch_ = unreadable(simple(b"a") + sealed(bytes(bad)) + simple(b"c", base=2))
    assert found == [b"a"]
    assert (batch_.offset, batch_.next_offset, batch_.records) == (1, 2, 1)
    assert batch_.codec == "number 6"


def test_a_missing_library_is_the_fault_of_its_batches_alone(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "zstandard", None)
    data = simple(b"a") + simple(b"b" * 200, base=1, codec=ZSTD)
    found, batch_ = unreadable(data)
    assert found == [b"a"]
    assert batch_.codec == "zstd" and "zstandard" in batch_.reason


def test_a_record_that_is_not_in_the_format_leaves_those_before_it():
    good = simple(b"first", b"second")
    bad = sealed(good.replace(b"\x0csecond", b"\x7esecond"))  # a value of 63 bytes
    assert bad != good
    found, batch_ = unreadable(bad)
    assert found == [b"first"]
    assert (batch_.offset, batch_.next_offset) == (1, 2)


@given(st.data())
def test_no_bytes_raise_or_go_back(data: st.DataObject):
    """Whatever a disk or network does to a fetch: some records, an end, or a named batch."""
    good = simple(b"a", b"b", base=5) + simple(b"c" * 50, base=7, codec=GZIP)
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    records = fetched(bytes(changed[:cut]), 5)
    offsets = [record.offset for record in records.take(100)]
    assert records.done
    assert offsets == sorted(offsets) and min(offsets, default=5) >= 5
    if records.unreadable is not None:
        assert records.unreadable.next_offset > records.unreadable.offset >= 5


def control(base: int, producer: int, *, kind: int) -> bytes:
    """A transaction's marker: kind 0 aborts, 1 commits."""
    return marked(
        batch([(1, struct.pack(">hh", 0, kind), b"\0\0\0\0\0\0", [])], base=base), 0x30, producer
    )


def test_aborted_records_and_markers_are_passed_over():
    """Between those of other producers, and of the same producer's next transaction."""
    data = (
        marked(simple(b"aborted", base=0), 0x10, 7)
        + simple(b"plain", base=1)
        + marked(simple(b"other", base=2), 0x10, 8)
        + control(3, 7, kind=0)
        + marked(simple(b"again", base=4), 0x10, 7)
        + control(5, 7, kind=1)
        + control(6, 8, kind=1)
    )
    records = fetched(data, aborted=[(0, 7)])
    assert values(records) == [b"plain", b"other", b"again"]
    assert records.next_offset == records.end_offset == 7


def test_a_marker_that_compaction_has_emptied_is_passed_over():
    """Its batch stays, with no record, for the producer's sequence numbers."""
    emptied = bytearray(control(1, 7, kind=0)[:61])
    emptied[8:12] = struct.pack(">i", len(emptied) - 12)
    emptied[57:61] = struct.pack(">i", 0)  # the number of records
    data = marked(simple(b"aborted"), 0x10, 7) + sealed(bytes(emptied)) + simple(b"c", base=2)
    records = fetched(data, aborted=[(0, 7)])
    assert values(records) == [b"c"]
    assert records.unreadable is None and records.next_offset == 3


def test_a_batch_whose_first_offset_goes_back_is_not_passed_over():
    """The checksum does not cover it: its records would look as if they were read already."""
    found, batch_ = unreadable(simple(b"a", base=5) + simple(b"b", base=3), position=5)
    assert found == [b"a"]
    assert batch_.offset == 6 and "behind" in batch_.reason


def test_a_batch_far_beyond_the_end_of_the_log_moves_no_position_there():
    """Its first offset is outside the checksum; each batch is kept for another attempt."""
    data = simple(b"a") + simple(b"b", base=2**40) + simple(b"c", base=2)
    found, batch_ = unreadable(data, end=3)
    assert found == [b"a"]
    assert (batch_.offset, batch_.next_offset, batch_.base_offset) == (1, 2, 2**40)
    assert values(fetched(data[len(simple(b"a")) :], 2, end=3, skipped={2**40})) == [b"c"]
    assert values(fetched(simple(b"new", base=9), 3, end=3)) == [b"new"], "appended meanwhile"


@pytest.mark.parametrize("delta", [0, 63, -1])
def test_a_record_whose_offset_goes_back_or_is_of_another_batch_stops_there(delta: int):
    """A position outside its batch would skip, or repeat, what is beside it."""
    data = simple(b"a", b"b")
    at = data.index(b"\x02\x02k\x02b")  # delta 1, key and value of one byte
    zigzag = {0: b"\x00", 63: b"\x7e", -1: b"\x01"}[delta]
    found, batch_ = unreadable(sealed(data[:at] + zigzag + data[at + 1 :]))
    assert found == [b"a"] and "offset delta" in batch_.reason


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_would_fill_the_memory_is_refused(codec: str):
    """Some kilobytes may claim gigabytes."""
    body = b"\0" * 2**20
    data = simple(body, codec=CODECS.index(codec))[61:]
    assert len(decompress(codec, data, max_bytes=2**21)) > len(body)
    with pytest.raises(DecompressionError, match="more than 524,288 bytes"):
        decompress(codec, data, max_bytes=2**19)


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_whose_compressed_bytes_are_incomplete_is_named(codec: str):
    whole = simple(bytes(range(256)) * 40, codec=CODECS.index(codec))
    data = struct.pack(">qi", 0, len(whole) - 12 - 9) + whole[12:-9]
    found, batch_ = unreadable(sealed(data))
    assert found == [] and batch_.codec == codec
