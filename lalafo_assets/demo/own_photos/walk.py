"""Finds the photos of a folder, at any depth, by their names alone.

Owns which names are photos, and where links lead. Each folder is read once, however many links lead
to it, so a loop of links ends. Does not open files.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lalafo_assets.demo.own_photos.left_out import LeftOut, Why
from ops.errors import ConfigurationError
from ops.events.fields import MAX_LABEL_CHARS

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".heic", ".heif"}
    | {".bmp", ".tif", ".tiff"}
)
"""Of the formats that ops/photos/formats.py allows, in any case."""

MAX_FILES = 200_000
ARCHIVE_FOLDER = "__MACOSX"  # macOS adds it to ZIP archives; its files are not photos

Looked = Callable[[int], object]
"""Called with the number of files and folders so far."""


@dataclass(slots=True)
class Walk:
    """What a folder holds: the paths of its photos below it, sorted, and what is left out."""

    photos: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def walk(folder: Path, *, looked: Looked) -> Walk:
    """Find the photos below a folder, which must exist.

    Raises:
        ConfigurationError: there are more than MAX_FILES files.
    """
    found = Walk()
    seen: set[tuple[int, int]] = set()
    links: list[str] = []
    count = 0
    waiting = [""]
    while waiting or links:
        # Real folders first: a photo is found at its own place, not behind a link.
        name = waiting.pop() if waiting else links.pop()
        for entry in _entries(folder, name, seen, found):
            count += 1
            looked(count)
            if count > MAX_FILES:
                raise ConfigurationError(
                    f"PHOTOS={folder}: more than {MAX_FILES:,} files; give a smaller folder"
                )
            path = f"{name}/{entry.name}" if name else entry.name
            if _is_folder(entry) and not _is_hidden(entry.name):
                (links if entry.is_symlink() else waiting).append(path)
            else:
                _add(found, entry, path)
    found.photos.sort()
    return found


def _entries(
    folder: Path, name: str, seen: set[tuple[int, int]], found: Walk
) -> Iterator[os.DirEntry[str]]:
    """The entries of one folder; none if it was read before, or can't be opened."""
    try:
        status = (folder / name).stat()
        if (status.st_dev, status.st_ino) in seen:
            found.left_out.append(LeftOut(Why.SEEN, printable(name)))
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder / name) as entries:
            listed = list(entries)
    except OSError as error:
        why = LeftOut(Why.UNREADABLE_FOLDER, printable(name) or ".", error.strerror or str(error))
        found.left_out.append(why)
        return
    yield from sorted(listed, key=lambda entry: entry.name)


def _add(found: Walk, entry: os.DirEntry[str], path: str) -> None:
    why = _why_not(entry, path)
    if why is None:
        found.photos.append(path)
    else:
        found.left_out.append(LeftOut(why, printable(path)))


def _why_not(entry: os.DirEntry[str], path: str) -> Why | None:
    """Why an entry that is no folder to read is no photo; None if it may be one."""
    if _is_hidden(entry.name):
        return Why.HIDDEN
    if entry.is_symlink() and not _leads_somewhere(entry):
        return Why.DEAD_LINK
    if Path(entry.name).suffix.lower() not in SUFFIXES or not entry.is_file():
        return Why.OTHER
    if printable(path) != path or len(class_of(path)) > MAX_LABEL_CHARS:
        return Why.BAD_NAME
    return None


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    try:
        return Path(entry.path).exists()
    except OSError:  # into a folder that can't be opened, or to itself
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == ARCHIVE_FOLDER


def class_of(path: str) -> str:
    """The class of a photo: the path of its folder, such as `clothing/dresses`; "" at the top."""
    return path.rpartition("/")[0]


def printable(name: str) -> str:
    """The name with what can't be printed replaced: bytes that are not UTF-8, control characters.

    A name that this changes can't be the category of an ad, nor part of its URL.
    """
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
