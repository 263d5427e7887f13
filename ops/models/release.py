"""A model release: backbone, preprocessing, taxonomy and heads, identified by a digest.

Owns the JSON of the manifest, and every digest. Does not depend on the format of the weight files
(ops/models/release_files.py), on where releases are stored (resources/storage/releases.py) or on
how they are run (ops/models/embed.py). Anything unknown, missing or inconsistent is an error: a
guess could score with another model without notice.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.networks.names import name_in_ids
from ops.models.preprocessing import Preprocessing as Preprocessing  # a part of the manifest
from ops.models.require import require
from ops.models.task_head import TASK_NAME, TaskHead, check_config

SCHEMA = 1
BACKBONE_FILE = "backbone.safetensors"
HEADS_FILE = "heads.safetensors"
WEIGHT_FILES = (BACKBONE_FILE, HEADS_FILE)
SHA256_HEX = re.compile(r"[0-9a-f]{64}")

_BACKBONE_NAME = re.compile(r"(timm:)?[a-z][a-z0-9_]{0,63}(\.[a-z0-9_]{1,63})?")
_MAX_LABEL_CHARS = 500

State = dict[str, NDArray[Any]]
"""A backbone's weights by its library's parameter names, without the head, on the CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier on embeddings: `weight` (C, D) float32, `bias` (C,) float32, in the
    order of `labels` (C distinct ones, at least two). `config`: JSON settings of its task."""

    task: str
    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_taxonomy(self.task, self.labels)
        check_config(self.task, self.config)
        shapes = (self.weight.ndim == 2, self.weight.shape[:1] == self.bias.shape)
        require(
            all(shapes), f"head {self.task}: weight {self.weight.shape}, bias {self.bias.shape}"
        )
        count = self.bias.shape[0]
        require(
            count == len(self.labels), f"head {self.task}: {count} rows, {len(self.labels)} labels"
        )
        floats = self.weight.dtype == np.float32 and self.bias.dtype == np.float32
        require(
            floats,
            f"head {self.task}: expected float32, got {self.weight.dtype}, {self.bias.dtype}",
        )
        finite = bool(np.isfinite(self.weight).all() and np.isfinite(self.bias).all())
        require(finite, f"head {self.task}: a weight is not finite")

    @property
    def dimension(self) -> int:
        """D, the length of the embeddings that it expects."""
        return int(self.weight.shape[1])


AnyHead = Head | TaskHead
"""What a task has learned."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release's identity: everything except the weights, and the digests of the weight files.

    `taxonomy`: labels by task, in the order of the rows of each linear head. `files`: SHA-256 (hex)
    by file name. `metrics`: JSON; the measures on held-out photos from when the release was
    trained. `heads`: JSON settings by task, of every head that is no linear classifier and of the
    linear ones that have any; without one the manifest's JSON has no such key, as in releases of
    before.
    """

    backbone: str
    weights_source: str
    dimension: int
    preprocessing: Preprocessing
    taxonomy: Mapping[str, tuple[str, ...]]
    files: Mapping[str, str]
    backbone_digest: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    heads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            _is_int(self.schema) and self.schema == SCHEMA,
            f"schema {self.schema!r}: expected {SCHEMA}",
        )
        good = isinstance(self.backbone, str) and bool(_BACKBONE_NAME.fullmatch(self.backbone))
        require(good, f"backbone {self.backbone!r}: expected torchvision's name, or timm:NAME")
        good = isinstance(self.weights_source, str) and self.weights_source != ""
        require(good, "weights_source is empty")
        good = _is_int(self.dimension) and 1 <= self.dimension <= 16_000
        require(
            good, f"dimension {self.dimension!r}: expected 1-16000, the maximum of a halfvec column"
        )
        require(
            set(self.files) == set(WEIGHT_FILES),
            f"files {sorted(self.files)}: expected {WEIGHT_FILES}",
        )
        for name, digest in self.files.items():
            good = isinstance(digest, str) and bool(SHA256_HEX.fullmatch(digest))
            require(good, f"{name}: {digest!r} is not a SHA-256 in hex")
        require(len(self.taxonomy) + len(self.heads) > 0, "taxonomy and heads are empty")
        for task, labels in self.taxonomy.items():
            _check_taxonomy(task, labels)
        for task, config in self.heads.items():
            check_config(task, config)
            empty = task in self.taxonomy and not config
            require(not empty, f"heads: the linear head of {task} has no settings to list")
        expected = backbone_digest(self.backbone, self.preprocessing, self.files[BACKBONE_FILE])
        require(
            self.backbone_digest == expected,
            f"backbone_digest {self.backbone_digest!r}: expected {expected}",
        )

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII, finite numbers; the input of `digest`."""
        record = {**asdict(self), "preprocessing": self.preprocessing.record()}
        if not self.heads:
            del record["heads"]
        return canonical_json(record)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the release runs, sorted."""
        return tuple(sorted({*self.taxonomy, *self.heads}))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the result of `to_json`.

        Raises:
            ConfigurationError: the text is not JSON or not canonical, or a key is unknown, missing
                or wrong.
        """
        try:
            written = text if isinstance(text, str) else text.decode("ascii")
            record = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"The release's manifest is not JSON: {error}") from error
        if isinstance(record, dict) and "heads" not in record:
            record["heads"] = {}
        _require_keys("manifest", record, cls)
        for key in ("taxonomy", "files", "metrics", "heads"):
            require(isinstance(record[key], dict), f"{key}: expected an object")
        record["taxonomy"] = _lists_to_tuples(record["taxonomy"])
        record["preprocessing"] = Preprocessing.from_record(record["preprocessing"])
        manifest = cls(**record)
        require(manifest.to_json() == written, "the JSON is not canonical: it was edited")
        return manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hex: the key of the release."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def name(self) -> str:
        """A readable name: the network's and the first twelve digits of the digest."""
        return f"{name_in_ids(self.backbone)}-{self.digest[:12]}"


@dataclass(frozen=True, slots=True, eq=False)
class FrozenBackbone:
    """A backbone by its library's name, with its weights and its preprocessing.

    `digest`: the release's `backbone_digest`; None: it is of no release, and no form of it is kept.
    """

    name: str
    state: State
    preprocessing: Preprocessing
    digest: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """A manifest with its weights in memory; `heads` by task, as the manifest lists them."""

    manifest: Manifest
    backbone_state: State
    heads: Mapping[str, AnyHead]

    def __post_init__(self) -> None:
        taxonomy, configs = listed(self.heads)
        require(dict(self.manifest.taxonomy) == taxonomy, "the heads and the taxonomy differ")
        same = {task: dict(config) for task, config in self.manifest.heads.items()} == configs
        require(same, "the heads and their settings in the manifest differ")
        for task, head in self.heads.items():
            require(head.task == task, f"head {head.task!r} is filed under {task!r}")
        for task, head in self.linear_heads.items():
            wide = head.dimension == self.manifest.dimension
            require(
                wide,
                f"head {task}: it reads embeddings of length {head.dimension}, expected "
                f"{self.manifest.dimension}",
            )

    @property
    def linear_heads(self) -> dict[str, Head]:
        """The heads that are linear classifiers, by task."""
        return {task: head for task, head in self.heads.items() if isinstance(head, Head)}

    @property
    def backbone(self) -> FrozenBackbone:
        """The backbone; releases with an equal `manifest.backbone_digest` share it."""
        manifest = self.manifest
        return FrozenBackbone(
            manifest.backbone,
            self.backbone_state,
            manifest.preprocessing,
            manifest.backbone_digest,
        )


def listed(
    heads: Mapping[str, AnyHead],
) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, Any]]]:
    """What a manifest has of these heads: `taxonomy` and `heads`."""
    linear = {task: head for task, head in heads.items() if isinstance(head, Head)}
    configs = {t: dict(h.config) for t, h in heads.items() if t not in linear or h.config}
    return {task: head.labels for task, head in linear.items()}, configs


def backbone_digest(backbone: str, preprocessing: Preprocessing, file_sha256: str) -> str:
    """The key of embeddings: releases that differ only in their heads have the same one."""
    parts = {
        "backbone": backbone,
        "preprocessing": preprocessing.record(),
        "sha256": file_sha256,
    }
    return sha256_hex(canonical_json(parts).encode())


def canonical_json(value: Any) -> str:
    """JSON whose bytes depend only on the value.

    Raises:
        ConfigurationError: the value has NaN, infinity or something that JSON does not support.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The value can't be stored in a manifest: {error}") from error


def _check_taxonomy(task: Any, labels: Any) -> None:
    good = isinstance(task, str) and bool(TASK_NAME.fullmatch(task))
    require(good, f"task {task!r}: expected lower-case letters, digits and underscores")
    require(isinstance(labels, tuple), f"task {task}: expected a list of labels")
    for label in labels:
        good = isinstance(label, str) and 0 < len(label) <= _MAX_LABEL_CHARS
        require(
            good,
            f"task {task}: label {str(label)[:50]!r}: expected 1-{_MAX_LABEL_CHARS} characters",
        )
    distinct = len(labels) >= 2 and len(set(labels)) == len(labels)
    require(distinct, f"task {task}: expected at least two labels, all distinct")


def _require_keys(where: str, record: Any, shape: type[Any]) -> None:
    require(isinstance(record, dict), f"{where}: expected an object")
    expected = {f.name for f in fields(shape)}
    unknown, missing = sorted(set(record) - expected), sorted(expected - set(record))
    require(not unknown and not missing, f"{where}: unknown keys {unknown}, missing keys {missing}")


def _lists_to_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def sha256_hex(data: bytes) -> str:
    """SHA-256 of the bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
