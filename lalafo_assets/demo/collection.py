"""The photos of a demo: drawn here, or from a folder of the user.

Owns the split of a user's photos: a photo that the head is fitted on is never in an ad that the
accuracy is measured on, and identical photos are on the same side of the split.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lalafo_assets.demo.ads import LabelledPhoto
from lalafo_assets.synthetic.photos import plan, render
from ops.errors import ConfigurationError
from ops.training.splits import split_by_group

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}
HELD_OUT_SHARE = 0.3
PHOTOS_PER_AD = 2.5  # on average, of 1 to 4

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Labelled photos in one folder."""

    folder: Path
    train: tuple[LabelledPhoto, ...]  # to fit a head on
    held_out: tuple[LabelledPhoto, ...]  # to make ads of


def generated_collection(folder: Path, *, ads: int, seed: int, progress: Progress) -> Collection:
    """Draw enough photos for `ads` ads; existing files are reused.

    All photos count as held out, since the starter was trained on photos of other seeds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plans = plan(max(1, round(ads * PHOTOS_PER_AD)), seed)
    photos = [
        LabelledPhoto(f"{category}-{photo_seed}.photo", category) for category, photo_seed in plans
    ]
    jobs = [
        (folder / photo.name, category, photo_seed)
        for photo, (category, photo_seed) in zip(photos, plans, strict=True)
        if not (folder / photo.name).exists()
    ]
    done = len(photos) - len(jobs)
    progress(done, len(photos))
    if jobs:
        # "spawn": this process has threads, and a forked child would inherit their locks
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_draw, jobs, chunksize=8):
                done += 1
                progress(done, len(photos))
    return Collection(folder, train=(), held_out=tuple(photos))


def _draw(job: tuple[Path, str, int]) -> None:
    path, category, photo_seed = job
    partial = path.with_suffix(".partial")
    partial.write_bytes(render(category, photo_seed).data)
    partial.replace(path)


def folder_collection(folder: Path, *, seed: int) -> Collection:
    """Return the photos of `folder`, one subfolder per class, split 70 to 30 by their bytes.

    Raises:
        ConfigurationError: no such folder, fewer than two classes, or too few photos.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"PHOTOS={folder}: no such folder; expected a folder with one subfolder per class"
        )
    found = [
        LabelledPhoto(str(path.relative_to(folder)), path.parent.name)
        for path in sorted(folder.glob("*/*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    labels = sorted({photo.label for photo in found})
    if len(labels) < 2:
        raise ConfigurationError(
            f"PHOTOS={folder}: found {len(found)} photos in {len(labels)} class folders; expected "
            "at least two subfolders with photos, each named after its class"
        )
    split = split_by_group(
        [photo.label for photo in found],
        groups=[photo.name for photo in found],
        contents=[hashlib.sha256((folder / photo.name).read_bytes()).digest() for photo in found],
        held_out=HELD_OUT_SHARE,
        seed=seed,
    )
    return Collection(
        folder,
        train=tuple(found[index] for index in split.train),
        held_out=tuple(found[index] for index in split.held_out),
    )
