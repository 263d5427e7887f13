"""A training set, frozen: which photos, which labels, from whom, and which are held out.

Decides the file's form and with it the digest: the same rows give the same bytes. It names photos
and carries none: embeddings and renditions are looked up when a model is made of it.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.near_duplicates import near_duplicate_groups
from ops.training.splits import split_for_growth
from ops.types import AdKey

SCHEMA = 1

Source = Literal["person", "seller"]
"""Who said so: a person's correction, or the category that the seller filed the ad under."""

Part = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True, order=True)
class LabelledPhoto:
    """One photo of an ad, and what the ad is in one task. Ordered by these fields."""

    task: str
    catalog: str
    ad_id: str
    sha256: bytes
    rendition_sha256: bytes
    revision: int
    label: str
    source: Source

    @property
    def key(self) -> AdKey:
        """The ad."""
        return AdKey(self.catalog, self.ad_id)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled photo and its place in the set."""

    photo: LabelledPhoto
    group: bytes  # what must stay on one side: named by the first SHA-256 of its photos
    part: Part


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How the set was divided."""

    held_out: float = 0.2  # the share, in (0, 1)
    near_duplicate: float = 0.975  # centred cosine from which photos are one piece
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Examples, in order, and how they came to be divided."""

    backbone: str  # the key of the embeddings by which near duplicates were found
    rule: SplitRule
    examples: tuple[Example, ...]

    def of(self, task: str, part: Part) -> list[Example]:
        """The examples of one task and side, in order."""
        return [e for e in self.examples if e.photo.task == task and e.part == part]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it has labels for, sorted."""
        return tuple(sorted({e.photo.task for e in self.examples}))

    def counts(self) -> Counter[tuple[str, Part, Source]]:
        """Photos by task, side and source."""
        return Counter((e.photo.task, e.part, e.photo.source) for e in self.examples)

    def to_bytes(self) -> bytes:
        """JSON lines: a line about the set, then one an example; the same set, the same bytes."""
        head = {
            "schema": SCHEMA,
            "backbone": self.backbone,
            "held_out": self.rule.held_out,
            "near_duplicate": self.rule.near_duplicate,
            "seed": self.rule.seed,
            "examples": len(self.examples),
        }
        return b"".join(_line(record) for record in (head, *map(_record, self.examples)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote; ConfigurationError for anything else."""
        try:
            head, *records = (json.loads(line) for line in data.splitlines())
            if head["schema"] != SCHEMA or head["examples"] != len(records):
                raise ValueError(f"schema {head['schema']}, {len(records)} examples")
            rule = SplitRule(head["held_out"], head["near_duplicate"], head["seed"])
            return cls(head["backbone"], rule, tuple(_example(record) for record in records))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"This is no training set that this version can use: {error!r}"
            ) from error


def freeze(
    photos: Sequence[LabelledPhoto],
    embeddings: NDArray[np.float16],
    *,
    backbone: str,
    rule: SplitRule,
) -> TrainingSet:
    """Divide labelled photos so that nothing leaks; the order in which they come does not matter.

    An ad, a photo and a group of near duplicates are on one side, in all tasks alike.

    Args:
        embeddings: (N, D), of the photos, under `backbone`.
    """
    order = sorted(range(len(photos)), key=lambda i: photos[i])
    ordered = [photos[i] for i in order]
    contents = [photo.sha256 for photo in ordered]
    alike = near_duplicate_groups(embeddings[order], threshold=rule.near_duplicate)
    split, groups = split_for_growth(
        [f"{photo.task}:{photo.label}" for photo in ordered],
        joined_by=[[photo.key for photo in ordered], alike.tolist()],
        contents=contents,
        held_out=rule.held_out,
        seed=rule.seed,
    )
    judged = set(split.held_out.tolist())
    examples = [
        Example(photo, group, "held_out" if row in judged else "train")
        for row, (photo, group) in enumerate(zip(ordered, groups, strict=True))
    ]
    return TrainingSet(backbone, rule, tuple(examples))


def unknown_to(
    examples: Sequence[Example], learned_from: Sequence[TrainingSet]
) -> tuple[list[Example], int]:
    """The examples of which nothing was trained on: of their piece, no ad and no photo.

    Args:
        learned_from: the sets of which releases have seen the training part.

    Returns: them in order, and how many were left out.
    """
    seen: set[AdKey | bytes] = set()
    for learned in learned_from:
        for example in learned.examples:
            if example.part == "train":
                seen |= {example.photo.key, example.photo.sha256}
    contaminated = {e.group for e in examples if e.photo.key in seen or e.photo.sha256 in seen}
    kept = [e for e in examples if e.group not in contaminated]
    return kept, len(examples) - len(kept)


def digest_of(data: bytes) -> str:
    """What a set is named by: SHA-256 of its bytes, hex."""
    return hashlib.sha256(data).hexdigest()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _record(example: Example) -> dict[str, Any]:
    photo = example.photo
    return {
        "task": photo.task,
        "catalog": photo.catalog,
        "ad_id": photo.ad_id,
        "revision": photo.revision,
        "sha256": photo.sha256.hex(),
        "rendition_sha256": photo.rendition_sha256.hex(),
        "label": photo.label,
        "source": photo.source,
        "piece": example.group.hex(),
        "part": example.part,
    }


def _example(record: dict[str, Any]) -> Example:
    if record["source"] not in get_args(Source) or record["part"] not in get_args(Part):
        raise ValueError(f"source {record['source']!r}, part {record['part']!r}")
    photo = LabelledPhoto(
        task=str(record["task"]),
        catalog=str(record["catalog"]),
        ad_id=str(record["ad_id"]),
        sha256=bytes.fromhex(record["sha256"]),
        rendition_sha256=bytes.fromhex(record["rendition_sha256"]),
        revision=int(record["revision"]),
        label=str(record["label"]),
        source=cast(Source, record["source"]),
    )
    return Example(photo, bytes.fromhex(record["piece"]), cast(Part, record["part"]))
