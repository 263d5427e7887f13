"""Keys by which a database finds hashes that differ in few bits, without a scan.

Multi-index hashing after Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with
Multi-Index Hashing" (CVPR 2012): a hash is 16 words of 16 bits. If two hashes differ in at most 15
bits, at least one of the 16 words is equal; if in at most 31, at least one differs in one bit or
none. A key is a word with its position, so that one column of integers holds all of them: an array
under GIN, or a narrow table under a B-tree.
"""

import struct

WORDS = 16
WORD_BITS = 16
NEAREST = WORDS - 1
"""Bits: up to here the stored keys of one hash and those of another have one in common."""

FURTHEST = 2 * WORDS - 1
"""Bits: the largest distance that `searched_keys` guarantees to find. It is also the distance
up to which PDQ's authors call two photos the same."""


def stored_keys(pdq_hash: bytes) -> list[int]:
    """The 16 keys to store for a hash of 32 bytes; each is in [0, 2**20), all are different.

    A photo of one colour has the same keys as all others like it: don't store a hash whose quality
    is below `pdq.LEAST_QUALITY`.
    """
    words = struct.unpack(f">{WORDS}H", pdq_hash)
    return [position << WORD_BITS | word for position, word in enumerate(words)]


def searched_keys(pdq_hash: bytes, *, within: int = FURTHEST) -> list[int]:
    """The keys of which every hash within this distance stores at least one.

    It stores other hashes' keys too, so compare the distance of what is found. There are 16 keys
    up to NEAREST bits, and 272 up to FURTHEST.

    Raises:
        ValueError: `within` is not in [0, FURTHEST].
    """
    if not 0 <= within <= FURTHEST:
        raise ValueError(f"within is {within} bits, expected 0 to {FURTHEST}")
    keys = stored_keys(pdq_hash)
    if within <= NEAREST:
        return keys
    return keys + [key ^ 1 << bit for key in keys for bit in range(WORD_BITS)]
