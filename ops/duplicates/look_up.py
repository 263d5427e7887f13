"""Keys by which a database finds hashes that differ in few bits, without a scan.

Multi-index hashing after Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with
Multi-Index Hashing" (CVPR 2012): a hash is 12 words of 21 or 22 bits. If two hashes differ in at
most 11 bits, at least one word is equal; if in at most 23, at least one differs in one bit or none.
A key is a word with its position, so that one column of integers holds all of them.

Of a million hashes, one in two million has a given word, so that a look-up reads few others. Words
of 16 bits would find all hashes within 31 bits, and read 4,000 others for each hash.
"""

from itertools import accumulate, pairwise

BITS = 256
WORDS = 12
WORD_BITS = 22
"""Of the first four words; the others have one less, in the same number of binary places."""

NEAREST = WORDS - 1
"""Bits: up to here the stored keys of one hash and those of another have one in common."""

SURE = 2 * WORDS - 1
"""Bits: the largest distance that all of `searched_keys` guarantee to find. Most of those within
FURTHEST are found too: an alteration changes some words in many bits, and others in none."""

FURTHEST = 31
"""Bits: the distance up to which PDQ's authors call two photos the same."""

_SIZES = [
    WORD_BITS if word < BITS - WORDS * (WORD_BITS - 1) else WORD_BITS - 1 for word in range(WORDS)
]
PLACES = tuple(pairwise((0, *accumulate(_SIZES))))
"""The first bit of each word, and the one behind its last; bit 0 is the hash's first."""


def stored_keys(pdq_hash: bytes) -> list[int]:
    """The 12 keys of a hash of 32 bytes, as PostgreSQL computes them for `photo_hashes.words`.

    Each is in [0, 2**26); all are different. A photo of one colour has the same keys as all others
    like it: a hash whose quality is below `pdq.LEAST_QUALITY` has none in the table.
    """
    number = int.from_bytes(pdq_hash)
    return [
        word << WORD_BITS | number >> BITS - end & (1 << end - begin) - 1
        for word, (begin, end) in enumerate(PLACES)
    ]


def searched_keys(pdq_hash: bytes, *, within: int = FURTHEST) -> list[int]:
    """The keys of which a hash within this distance stores at least one: every one up to NEAREST
    bits, where 12 keys suffice; with all 268 every one up to SURE bits, and most beyond.

    Other hashes store them too, so compare the distance of what is found.

    Raises:
        ValueError: `within` is not in [0, FURTHEST].
    """
    if not 0 <= within <= FURTHEST:
        raise ValueError(f"within is {within} bits, expected 0 to {FURTHEST}")
    keys = stored_keys(pdq_hash)
    if within <= NEAREST:
        return keys
    return keys + [
        key ^ 1 << bit
        for key, (begin, end) in zip(keys, PLACES, strict=True)
        for bit in range(end - begin)
    ]
