"""Texts as counts of hashed character n-grams.

Owns what of a text is read. Works in any script, without a list of words. Numbers of four digits or
more that are no year are one sign: a seller who writes the price into the title must not be what
the price is estimated from.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUCKETS = 2_048
SIZES = (2, 3, 4, 5)
MAX_CHARS = 600  # of a text: what comes later says little, and an ad may have 50,000

_FACTORS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], np.uint64)
_FINAL = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - 11)  # 2**11 buckets
_AMOUNT = re.compile(r"\d[\d\s.,']{2,}\d")
_YEAR = re.compile(r"(19|20)\d\d")


def text_rows(texts: Sequence[str]) -> NDArray[np.float32]:
    """Each text as (N, BUCKETS) float32, rows of length 1; an empty text is a row of zeros."""
    rows = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        counts = np.sqrt(_counts(_read(text)))
        length = float(np.sqrt(np.square(counts).sum()))
        if length > 0:
            row[:] = counts / length
    return rows


def _read(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARS]).casefold()[:MAX_CHARS]
    masked = _AMOUNT.sub(lambda it: it[0] if _YEAR.fullmatch(it[0]) else "#", folded)
    return f" {' '.join(masked.split())} "


def _counts(text: str) -> NDArray[np.float64]:
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    found = np.zeros(BUCKETS)
    if len(codes) <= 2:  # spaces alone
        return found
    for size in SIZES:
        count = len(codes) - size + 1
        if count > 0:
            hashed = sum(
                ((codes[i : i + count] + np.uint64(1)) * _FACTORS[i] for i in range(size)),
                np.full(count, size, np.uint64),
            )
            hashed ^= hashed >> np.uint64(29)
            buckets = ((hashed * _FINAL) >> _SHIFT).astype(np.int64)
            found += np.bincount(buckets, minlength=BUCKETS)
    return found
