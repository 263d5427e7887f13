"""How alike two titles are, as PostgreSQL's pg_trgm measures it, so that both agree."""

import re
import unicodedata

_WORD = re.compile(r"\w+")


def trigrams(text: str) -> frozenset[str]:
    """The three-letter parts of each word, in lower case, with two spaces before and one behind."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return frozenset(
        padded[at : at + 3]
        for word in _WORD.findall(folded)
        for padded in (f"  {word} ",)
        for at in range(len(padded) - 2)
    )


def likeness(one: str, other: str) -> float | None:
    """The trigrams in both titles as a share of those in either, in [0, 1]; None where one of them
    has none."""
    here, there = trigrams(one), trigrams(other)
    if not here or not there:
        return None
    return len(here & there) / len(here | there)
