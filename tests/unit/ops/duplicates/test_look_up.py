"""Hashes within the distance share a key, whatever bits differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lalafo_assets.bench.duplicates.alterations import altered_copies
from lalafo_assets.bench.duplicates.samples import drawn_samples
from ops.duplicates.look_up import (
    FURTHEST,
    NEAREST,
    PLACES,
    SURE,
    searched_keys,
    stored_keys,
)
from ops.duplicates.pdq import distance, pdq

HASHES = st.binary(min_size=32, max_size=32)


def differing(pdq_hash: bytes, bits: set[int]) -> bytes:
    number = int.from_bytes(pdq_hash)
    for bit in bits:
        number ^= 1 << 255 - bit
    return number.to_bytes(32)


@given(HASHES, st.sets(st.integers(0, 255), max_size=NEAREST))
def test_a_near_hash_shares_a_word(pdq_hash: bytes, bits: set[int]):
    other = differing(pdq_hash, bits)
    assert set(searched_keys(other, within=NEAREST)) & set(stored_keys(pdq_hash))


@given(HASHES, st.sets(st.integers(0, 255), max_size=SURE))
def test_a_hash_at_the_sure_distance_shares_a_key(pdq_hash: bytes, bits: set[int]):
    assert set(searched_keys(differing(pdq_hash, bits))) & set(stored_keys(pdq_hash))


def test_one_bit_more_may_share_none():
    """Two bits of each word: the guarantee is exact."""
    other = differing(bytes(32), {begin + bit for begin, _ in PLACES for bit in (0, 9)})
    assert not set(searched_keys(other)) & set(stored_keys(bytes(32)))


@pytest.mark.slow
def test_altered_photos_beyond_it_share_a_key():
    """Whatever alteration moves a hash by 24 to 31 bits: it moves some of the words by few."""
    samples = drawn_samples(60, seed=3)
    names = ("text_band", "crop_5", "rotated", "border", "watermark")
    lost = beyond = 0
    for copy in altered_copies([it.pixels for it in samples], seed=3, names=names):
        one, other = (
            pdq(np.rint(pixels @ [0.299, 0.587, 0.114]).astype(np.uint8)).hash
            for pixels in (samples[copy.photo].pixels, copy.pixels)
        )
        if SURE < distance(one, other) <= FURTHEST:
            beyond += 1
            lost += not set(searched_keys(other)) & set(stored_keys(one))
    assert beyond >= 20
    assert lost <= beyond * 0.05


@given(HASHES)
def test_keys_are_small_and_different(pdq_hash: bytes):
    keys = stored_keys(pdq_hash)
    assert len(set(keys)) == len(keys) == 12
    assert all(0 <= key < 2**26 for key in keys)
    assert len(set(searched_keys(pdq_hash))) == 268


def test_a_distance_that_is_not_searched_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 31"):
        searched_keys(bytes(32), within=32)
