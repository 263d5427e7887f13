"""Looks through a user's folder: which photos the demo uses, by class, and what it leaves out.

Every photo is read and decoded here, as a session would, so that broken ones are known before a
server is started. Owns what a class needs: three different photos, two to fit a head on and one to
make an ad of. Without two such classes, no head can be fitted, and photos are used without labels.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lalafo_assets.demo.own_photos.left_out import LeftOut, Why
from lalafo_assets.demo.own_photos.walk import class_of, walk
from ops.errors import BadInputError, ConfigurationError
from ops.photos.rendition import make_rendition
from resources.settings import Settings

MIN_PHOTOS = 3  # of a class; `Why.FEW` names this number
READERS = 2

Progress = Callable[[str, int, int | None], object]
"""Called with a step's name, the number done, and the number in all if it is known."""


@dataclass(frozen=True, slots=True)
class OwnPhoto:
    """A photo that can be used; `name` is its path below the folder."""

    name: str
    label: str  # the path of its folder; "" without classes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Survey:
    """The photos of a folder that the demo uses, and everything else that it found there."""

    folder: Path
    photos: tuple[OwnPhoto, ...]
    left_out: tuple[LeftOut, ...]
    no_classes: str = ""  # why the photos have no labels; empty: they have

    @property
    def classes(self) -> dict[str, int]:
        """The number of photos by class, in the order of names; {} without classes."""
        counts = Counter(photo.label for photo in self.photos if photo.label)
        return dict(sorted(counts.items()))

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Classes whose names differ in case only, sorted."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for label in self.classes:
            by_name[label.casefold()].append(label)
        return sorted(tuple(same) for same in by_name.values() if len(same) > 1)


def survey(folder: Path, *, progress: Progress) -> Survey:
    """Look through a folder at any depth; a photo's class is the path of its folder.

    Raises:
        ConfigurationError: it is no folder, or has no photo that can be used; the message says
            what it has instead.
    """
    _check(folder)
    found = walk(folder, looked=lambda count: progress("looking through the folder", count, None))
    left_out, readable = list(found.left_out), []
    max_pixels = Settings().max_photo_pixels
    with ThreadPoolExecutor(READERS) as threads:
        results = threads.map(lambda name: _read(folder, name, max_pixels), found.photos)
        for done, (name, read) in enumerate(zip(found.photos, results, strict=True), start=1):
            progress("reading photos", done, len(found.photos))
            if isinstance(read, LeftOut):
                left_out.append(read)
            else:
                # Names that look alike are one class: macOS writes accents in another normal form.
                label = unicodedata.normalize("NFC", class_of(name))
                readable.append(OwnPhoto(name, label, read))
    different, copies = _without_copies(readable)
    found_in_all = _in_classes(folder, different, [*left_out, *copies])
    if not found_in_all.photos:
        raise ConfigurationError(_nothing(found_in_all))
    return found_in_all


def _check(folder: Path) -> None:
    try:
        is_folder = folder.is_dir()
        exists = is_folder or folder.exists()
    except OSError as error:
        raise ConfigurationError(
            f"PHOTOS={folder} can't be opened ({error.strerror}); give a folder that this user "
            "can read"
        ) from error
    if not exists:
        raise ConfigurationError(
            f"PHOTOS={folder}: no such folder; expected a folder of photos, with one subfolder "
            "per class"
        )
    if not is_folder:
        raise ConfigurationError(
            f"PHOTOS={folder} is a file; expected a folder of photos, with one subfolder per "
            f"class. Its own folder is {folder.parent}"
        )


def _read(folder: Path, name: str, max_pixels: int) -> bytes | LeftOut:
    """The SHA-256 of a photo that can be decoded, or why it can't be used."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        return LeftOut(Why.UNREADABLE, name, error.strerror or str(error))
    try:
        make_rendition(data, max_pixels=max_pixels)
    except BadInputError as error:
        return LeftOut(Why.BROKEN, name, error.detail)
    return hashlib.sha256(data).digest()


def _without_copies(photos: Sequence[OwnPhoto]) -> tuple[list[OwnPhoto], list[LeftOut]]:
    """One of each photo; none of those that lie in several classes, as either label may be wrong.

    A copy that lies beside the class folders does not contradict the one within a class.
    """
    by_content: dict[bytes, list[OwnPhoto]] = defaultdict(list)
    for photo in photos:
        by_content[photo.sha256].append(photo)
    kept: list[OwnPhoto] = []
    copies: list[LeftOut] = []
    for same in by_content.values():
        labelled = [photo for photo in same if photo.label] or same
        if len({photo.label for photo in labelled}) > 1:
            where = " and ".join(sorted({photo.label for photo in labelled}))
            copies += [LeftOut(Why.TWO_CLASSES, photo.name, where) for photo in same]
            continue
        kept.append(labelled[0])
        copies += [
            LeftOut(Why.DUPLICATE, photo.name, f"of {labelled[0].name}")
            for photo in same
            if photo is not labelled[0]
        ]
    return sorted(kept, key=lambda photo: photo.name), copies


def _in_classes(folder: Path, photos: Sequence[OwnPhoto], left_out: list[LeftOut]) -> Survey:
    """Leave out photos without a class and those of small classes; or use all without classes."""
    counts = Counter(photo.label for photo in photos if photo.label)
    large = {label for label, count in counts.items() if count >= MIN_PHOTOS}
    if len(large) < 2:
        plain = tuple(OwnPhoto(photo.name, "", photo.sha256) for photo in photos)
        return Survey(folder, plain, tuple(left_out), no_classes=_why_no_classes(counts, large))
    used = tuple(photo for photo in photos if photo.label in large)
    for photo in photos:
        if not photo.label:
            left_out.append(LeftOut(Why.NO_CLASS, photo.name))
        elif photo.label not in large:
            left_out.append(LeftOut(Why.FEW, photo.name, photo.label))
    return Survey(folder, used, tuple(left_out))


def _why_no_classes(counts: Counter[str], large: set[str]) -> str:
    if not counts:
        return "the photos lie in the folder itself, not in one subfolder per class"
    if len(counts) == 1:
        return f"all photos of subfolders are in {next(iter(counts))}, and one class is no choice"
    return (
        f"{len(large)} of {len(counts)} classes {'has' if len(large) == 1 else 'have'} "
        f"{MIN_PHOTOS} different photos; a class needs two to learn from and one to make an ad of"
    )


def _nothing(result: Survey) -> str:
    """Why a folder has no photo that can be used."""
    counts = Counter(item.why for item in result.left_out)
    found = ", ".join(f"{why.value} ({counts[why]:,})" for why in Why if counts[why])
    broken = [item for item in result.left_out if item.why in (Why.BROKEN, Why.UNREADABLE)]
    first = f" (the first: {broken[0].name}: {broken[0].detail})" if broken else ""
    return (
        f"PHOTOS={result.folder}: no photo that can be used; found {found or 'nothing'}{first}. "
        "Expected JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF files, in one subfolder per class"
    )
