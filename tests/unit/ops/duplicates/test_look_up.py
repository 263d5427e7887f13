"""Hashes within the distance share a key, whatever bits differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.duplicates.look_up import FURTHEST, NEAREST, searched_keys, stored_keys

HASHES = st.binary(min_size=32, max_size=32)


def differing(pdq_hash: bytes, bits: set[int]) -> bytes:
    number = int.from_bytes(pdq_hash)
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(32)


@given(HASHES, st.sets(st.integers(0, 255), max_size=NEAREST))
def test_a_near_hash_shares_a_word(pdq_hash: bytes, bits: set[int]):
    other = differing(pdq_hash, bits)
    assert set(searched_keys(other, within=NEAREST)) & set(stored_keys(pdq_hash))


@given(HASHES, st.sets(st.integers(0, 255), max_size=FURTHEST))
def test_a_hash_at_the_furthest_distance_shares_a_key(pdq_hash: bytes, bits: set[int]):
    assert set(searched_keys(differing(pdq_hash, bits))) & set(stored_keys(pdq_hash))


def test_one_bit_more_may_share_none():
    """Two bits of each word: the guarantee is exact."""
    other = differing(bytes(32), {16 * word + bit for word in range(16) for bit in (0, 9)})
    assert not set(searched_keys(other)) & set(stored_keys(bytes(32)))


@given(HASHES)
def test_keys_are_small_and_different(pdq_hash: bytes):
    keys = stored_keys(pdq_hash)
    assert len(set(keys)) == len(keys) == 16
    assert all(0 <= key < 2**20 for key in keys)
    assert len(set(searched_keys(pdq_hash))) == 272


def test_a_distance_that_is_not_guaranteed_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 31"):
        searched_keys(bytes(32), within=32)
