"""The photos of a demo: drawn here, or from a folder of the user.

Owns the split of a user's photos: a photo that the head is fitted on is never in an ad that the
accuracy is measured on, and identical photos are on the same side of the split.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lalafo_assets.demo.ads import LabelledPhoto
from lalafo_assets.demo.own_photos.survey import Survey
from lalafo_assets.synthetic.photos import plan, render
from ops.training.splits import split_by_group

HELD_OUT_SHARE = 0.3
PHOTOS_PER_AD = 2.5  # on average, of 1 to 4

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Photos in one folder, with labels unless all of them are ""."""

    folder: Path
    train: tuple[LabelledPhoto, ...]  # to fit a head on
    held_out: tuple[LabelledPhoto, ...]  # to make ads of

    @property
    def labelled(self) -> bool:
        """Whether the photos have labels."""
        return any(photo.label for photo in self.held_out)

    @property
    def names(self) -> list[str]:
        """The photos to make ads of, as paths below the folder."""
        return [photo.name for photo in self.held_out]

    @property
    def ads_of(self) -> Counter[str]:
        """The number of photos to make ads of, by label."""
        return Counter(photo.label for photo in self.held_out)


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


def own_collection(found: Survey, *, seed: int) -> Collection:
    """Split a user's photos 70 to 30 by their bytes; without classes, all of them become ads."""
    photos = [LabelledPhoto(photo.name, photo.label) for photo in found.photos]
    if found.no_classes:
        return Collection(found.folder, train=(), held_out=tuple(photos))
    split = split_by_group(
        [photo.label for photo in photos],
        groups=[photo.name for photo in photos],
        contents=[photo.sha256 for photo in found.photos],
        held_out=HELD_OUT_SHARE,
        seed=seed,
    )
    return Collection(
        found.folder,
        train=tuple(photos[index] for index in split.train),
        held_out=tuple(photos[index] for index in split.held_out),
    )
