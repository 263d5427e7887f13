"""A frozen training set: labelled photos, the sources of their labels, ads, the held-out part.

Owns the file format, and with it the digest: the same rows give the same bytes. The set has the
digests of photos, not the photos: embeddings and renditions are loaded when a model is trained.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.near_duplicates import near_duplicate_groups
from ops.training.splits import split_for_growth
from ops.training.taught_ads import AdExample, Part, TaughtAd, ad_example, ad_record
from ops.types import AdKey

SCHEMA = 1

Source = Literal["person", "seller"]
"""The origin of a label: a person's correction, or the category that the seller chose."""


@dataclass(frozen=True, slots=True, order=True)
class LabelledPhoto:
    """One photo of an ad, with the ad's label in one task. Ordered by its fields."""

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
        """The key of the ad."""
        return AdKey(self.catalog, self.ad_id)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled photo with its group and its part of the set."""

    photo: LabelledPhoto
    group: bytes  # photos that must be in one part; named by the smallest SHA-256 of them
    part: Part


@dataclass(frozen=True, slots=True)
class SplitRule:
    """The parameters of the split."""

    held_out: float = 0.2  # the share, in (0, 1)
    near_duplicate: float = 0.975  # centred cosine from which photos are in one group
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The examples, in order, and the parameters of their split.

    `ads`: for tasks that learn from what sellers write; sets without any have the bytes that they
    had before there were such tasks.
    """

    backbone: str  # the key of the embeddings that near duplicates were found with
    rule: SplitRule
    examples: tuple[Example, ...]
    ads: tuple[AdExample, ...] = ()

    def of(self, task: str, part: Part) -> list[Example]:
        """The examples of one task and part, in order."""
        return [e for e in self.examples if e.photo.task == task and e.part == part]

    def ads_of(self, part: Part) -> list[AdExample]:
        """The ads of one part, in order."""
        return [example for example in self.ads if example.part == part]

    @property
    def renditions(self) -> dict[bytes, bytes]:
        """The rendition's SHA-256 of every photo, by the photo's."""
        of_ads = {photo: rendition for e in self.ads for photo, rendition in e.ad.photos}
        return {e.photo.sha256: e.photo.rendition_sha256 for e in self.examples} | of_ads

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the set has labels for, sorted."""
        return tuple(sorted({e.photo.task for e in self.examples}))

    def counts(self) -> Counter[tuple[str, Part, Source]]:
        """The number of photos by task, part and source."""
        return Counter((e.photo.task, e.part, e.photo.source) for e in self.examples)

    def to_bytes(self) -> bytes:
        """Serialize as JSON lines: a header, then one line for each example.

        Equal sets give equal bytes.
        """
        head = {
            "schema": SCHEMA,
            "backbone": self.backbone,
            "held_out": self.rule.held_out,
            "near_duplicate": self.rule.near_duplicate,
            "seed": self.rule.seed,
            "examples": len(self.examples),
            **({"ads": len(self.ads)} if self.ads else {}),
        }
        records = (head, *map(_record, self.examples), *map(ad_record, self.ads))
        return b"".join(_line(record) for record in records)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the result of `to_bytes`.

        Raises:
            ConfigurationError: the bytes are not a training set of a known schema.
        """
        try:
            head, *records = (json.loads(line) for line in data.splitlines())
            count, ads = head["examples"], head.get("ads", 0)
            if head["schema"] != SCHEMA or count + ads != len(records):
                raise ValueError(
                    f"schema {head['schema']} with {len(records)} records, expected schema "
                    f"{SCHEMA} with {count + ads}"
                )
            rule = SplitRule(head["held_out"], head["near_duplicate"], head["seed"])
            return cls(
                head["backbone"],
                rule,
                tuple(_example(record) for record in records[:count]),
                tuple(ad_example(record) for record in records[count:]),
            )
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise ConfigurationError(
                f"This is not a training set that this version can use: {error!r}"
            ) from error


def freeze(
    photos: Sequence[LabelledPhoto],
    embeddings: NDArray[np.float16],
    *,
    backbone: str,
    rule: SplitRule,
    ads: Sequence[TaughtAd] = (),
    vectors: Mapping[bytes, NDArray[np.float16]] | None = None,
) -> TrainingSet:
    """Split labelled photos and ads without leakage; the result does not depend on their order.

    The photos of an ad, copies of a photo and near duplicates are in one part, in all tasks.

    Args:
        embeddings: (N, D), those of the photos under `backbone`.
        ads: with at least one photo each.
        vectors: (D,) each, those of the photos of `ads`, by SHA-256.
    """
    order = sorted(range(len(photos)), key=lambda i: photos[i])
    ordered = [photos[i] for i in order]
    contents = [photo.sha256 for photo in ordered]
    rows = list(embeddings[order])
    ordered_ads = sorted(ads, key=lambda ad: (ad.key.catalog, ad.key.ad_id))
    labelled = set(contents)
    of_ads = [(ad, sha256) for ad in ordered_ads for sha256, _ in ad.photos]
    new = list(dict.fromkeys(sha256 for _, sha256 in of_ads if sha256 not in labelled))
    if new:
        assert vectors is not None
        rows += [vectors[sha256] for sha256 in new]
    stacked = np.stack(rows) if rows else embeddings
    similar = near_duplicate_groups(stacked, threshold=rule.near_duplicate).tolist()
    group_of = dict(zip([*contents, *new], similar, strict=True))
    split, groups = split_for_growth(
        # "~" is behind every letter: a group of labelled photos is split by its label.
        [f"{photo.task}:{photo.label}" for photo in ordered] + ["~ads"] * len(of_ads),
        joined_by=[
            [*(photo.key for photo in ordered), *(ad.key for ad, _ in of_ads)],
            [*similar[: len(ordered)], *(group_of[sha256] for _, sha256 in of_ads)],
        ],
        contents=[*contents, *(sha256 for _, sha256 in of_ads)],
        held_out=rule.held_out,
        seed=rule.seed,
    )
    held_out = set(split.held_out.tolist())
    examples = [
        Example(photo, groups[row], "held_out" if row in held_out else "train")
        for row, photo in enumerate(ordered)
    ]
    split_ads: list[AdExample] = []
    row = len(ordered)
    for ad in ordered_ads:
        split_ads.append(AdExample(ad, groups[row], "held_out" if row in held_out else "train"))
        row += len(ad.photos)
    return TrainingSet(backbone, rule, tuple(examples), tuple(split_ads))


def unknown_to(
    examples: Sequence[Example], learned_from: Sequence[TrainingSet]
) -> tuple[list[Example], int]:
    """Leave out examples that are contaminated: an ad or photo of their group was trained on.

    Args:
        learned_from: the sets whose training part the releases were trained on.

    Returns:
        The remaining examples in order, and the number of those left out.
    """
    seen: set[AdKey | bytes] = set()
    for learned in learned_from:
        for example in learned.examples:
            if example.part == "train":
                seen |= {example.photo.key, example.photo.sha256}
    contaminated = {e.group for e in examples if e.photo.key in seen or e.photo.sha256 in seen}
    remaining = [e for e in examples if e.group not in contaminated]
    return remaining, len(examples) - len(remaining)


def digest_of(data: bytes) -> str:
    """The name of a set: SHA-256 of its bytes, hex."""
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
        "group": example.group.hex(),
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
    # Sets that were stored by earlier versions have the group under the key "piece".
    group = record["group"] if "group" in record else record["piece"]
    return Example(photo, bytes.fromhex(group), cast(Part, record["part"]))
