"""The vocabulary: terms of Kafka, PostgreSQL, PyTorch and Dagster, and no private ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("gateway", "lalafo_assets", "ops", "resources", "sensors"),
    *("tests", "docs", "deploy", ".github"),
)
SUFFIXES = {".py", ".md", ".js", ".css", ".html", ".yaml", ".yml", ".toml", ".lua"}

# Each retired word, and what to write instead.
RETIRED = {
    r"told|tells?|telling": "log, report, print, say; on_progress; message",
    r"ow(e|es|ed|ing)": "pending, unpublished, unscored",
    r"away": "unavailable, unreachable, down",
    r"seats?": "group membership",
    r"void": "stale, fenced",
    r"let(s|ting)?[ _]go": "release (a partition), evict, close, orphan",
    r"mend(s|ed|ing)?": "repair, retry, fix",
    r"meant": "intended, canonical; content digest",
    r"in[ _]force": "active (releases), valid",
    r"flip(s|ped|ping)?": "promote, roll back, switch",
    r"pieces?": "group (of near duplicates), chunk, part",
    r"spoilt": "corrupt, contaminated",
    r"bare": "baseline",
    r"yardsticks?": "baseline",
    r"rooms|storeys?|floors": "packages, layers, milestones",
    r"whoever": "the caller, the reader, another process",
    r"for[ _]ever": "permanently, never again, without end",
    r"polite(ly)?": "graceful",
    r"young(er|est)?": "recent, newer, newest",
    r"ours|theirs|in our words": "the session's, the caller's, as LalafoError",
    r"decides|refuses to know": "Owns …. Does not depend on …",
    r"hands on|life line|eyes and hands": "passes to; control pipe; I/O side",
}
PARTICIPLES = r"class _?(Told|Owed|Wanted|Held|Shown|Found|Taken|Asked|Made|Kept|Gone|Said|Meant)\b"

# Where a word stands for what it says: furniture has seats, an image is flipped.
ALLOWED = {
    "lalafo_assets/synthetic/": {
        *("seats?", "rooms|storeys?|floors", "pieces?", "flip(s|ped|ping)?"),  # Pillow's FLIP_…
    },
    "ops/training/augment.py": {"flip(s|ped|ping)?"},
    "ops/photos/": {"flip(s|ped|ping)?"},
    "tests/unit/ops/photos/": {"flip(s|ped|ping)?"},
    "tests/support/odd_photos.py": {"flip(s|ped|ping)?"},
    "ops/training/dataset.py": {"pieces?"},  # the key in sets that were stored before
    "tests/unit/ops/training/test_dataset.py": {"pieces?"},
    "gateway/page/static/docs.html": {"polite(ly)?"},  # aria-live
}
# Records of a day, which keep that day's words, and this list.
RECORDS = (
    "CHANGELOG.md",
    "docs/decisions/",
    "resources/postgres/migrations/versions/",
    "tests/integration/resources/postgres/test_migrations.py",
    "tests/unit/test_words.py",
    "lalafo_assets/bench/kafka/target/",  # what Maven wrote
    "tests/support/s3/target/",
)


def texts() -> list[str]:
    """Every file of the project whose words people read; without git, as in an unpacked archive."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for name in FOLDERS for path in (ROOT / name).rglob("*") if path.is_file()]
    names = sorted(path.relative_to(ROOT).as_posix() for path in files if path.suffix in SUFFIXES)
    return [name for name in names if not name.startswith(RECORDS)]


def words_of(line: str) -> str:
    """The line with names taken apart: `owedDays`, `owed_days` and "owed days" read alike."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", line)


def found_in(name: str, text: str) -> list[str]:
    """file:line: the retired word, and what to write instead."""
    allowed = {word for path, words in ALLOWED.items() if name.startswith(path) for word in words}
    lines = [
        f"{name}:{number}: {match.group(0)!r} -> {better}"
        for word, better in RETIRED.items()
        if word not in allowed
        for number, line in enumerate(text.splitlines(), 1)
        for match in re.finditer(rf"\b({word})\b", words_of(line), re.IGNORECASE)
    ]
    return lines + [f"{name}: {match.group(0)}" for match in re.finditer(PARTICIPLES, text)]


def test_no_retired_word_is_used():
    """A reader who knows the field meets its own terms."""
    found = [line for name in texts() for line in found_in(name, (ROOT / name).read_text())]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["def owed_days():", "the days that are owed", "class Told:", "let_go(1)", "isInForce", "Away"],
)
def test_a_retired_word_is_found_in_prose_and_in_names(line: str):
    assert found_in("ops/example.py", line) != []
