"""How alike two titles are, as PostgreSQL's pg_trgm measures it, and what one is found by."""

import hashlib
import re
import unicodedata

FEWEST_WORDS = 2
"""Words of a title that is looked up: very many ads are called `sofa`."""

_WORD = re.compile(r"\w+")


def trigrams(text: str) -> frozenset[str]:
    """The three-letter parts of each word, in lower case, with two spaces before and one behind."""
    return frozenset(
        padded[at : at + 3]
        for word in _words(text)
        for padded in (f"  {word} ",)
        for at in range(len(padded) - 2)
    )


def title_key(text: str) -> int | None:
    """A number that titles of the same words have, in any order, with other capitals and marks
    between them; in [-2**63, 2**63). None for a title of fewer than FEWEST_WORDS words."""
    words = sorted(set(_words(text)))
    if len(words) < FEWEST_WORDS:
        return None
    digest = hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def likeness(one: str, other: str) -> float | None:
    """The trigrams in both titles as a share of those in either, in [0, 1]; None where one of them
    has none."""
    here, there = trigrams(one), trigrams(other)
    if not here or not there:
        return None
    return len(here & there) / len(here | there)
