"""What a model release is: backbone, preprocessing, taxonomy and heads, frozen and named by digest.

Decides the manifest's JSON and every digest; refuses to know the weight files' format
(ops/models/release_files.py), where releases are kept (resources/storage/releases.py) and how they
are run (ops/models/embed.py). Anything
unknown, missing or contradictory is refused: a guess would silently score with another model.
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

SCHEMA = 1
BACKBONE_FILE = "backbone.safetensors"
HEADS_FILE = "heads.safetensors"
WEIGHT_FILES = (BACKBONE_FILE, HEADS_FILE)
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
SHA256_HEX = re.compile(r"[0-9a-f]{64}")

_BACKBONE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TASK_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAX_LABEL_CHARS = 500

State = dict[str, NDArray[Any]]
"""A backbone's weights by torchvision's parameter names, without the classification head, CPU."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a rendition becomes the model's input.

    `size`: pixels of the square input. `resize`: "squash" (the whole photo to size x size,
    bilinear with antialias, no crop); another algorithm gets another name. `mean`, `std`: of RGB
    in [0, 1], taken off in the batch.
    """

    size: int = 224
    resize: str = "squash"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        require(_is_int(self.size) and 32 <= self.size <= 1024, f"size {self.size!r}: want 32-1024")
        require(self.resize == "squash", f"resize {self.resize!r}: this version knows 'squash'")
        for name, values in (("mean", self.mean), ("std", self.std)):
            good = isinstance(values, tuple) and len(values) == 3
            good = good and all(isinstance(v, float) and 0 <= v <= 1 for v in values)
            require(good, f"{name} {values!r}: want three floats in [0, 1]")
        require(min(self.std) > 0, f"std {self.std!r}: want positive numbers")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier on embeddings: `weight` (C, D) float32, `bias` (C,) float32, in the
    order of `labels` (C of them, at least two, no two alike)."""

    task: str
    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check_taxonomy(self.task, self.labels)
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
            floats, f"head {self.task}: want float32, got {self.weight.dtype}, {self.bias.dtype}"
        )
        finite = bool(np.isfinite(self.weight).all() and np.isfinite(self.bias).all())
        require(finite, f"head {self.task}: a weight is not finite")

    @property
    def dimension(self) -> int:
        """D, the length of the embeddings it reads."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release's identity: everything but the weights, and the digests of those.

    `taxonomy`: labels by task, in the order of each head's rows. `files`: SHA-256 (hex) by file
    name. `metrics`: JSON; what was measured on held-out photos when the release was made.
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

    def __post_init__(self) -> None:
        require(
            _is_int(self.schema) and self.schema == SCHEMA, f"schema {self.schema!r}: want {SCHEMA}"
        )
        good = isinstance(self.backbone, str) and bool(_BACKBONE_NAME.fullmatch(self.backbone))
        require(good, f"backbone {self.backbone!r}: want a torchvision name")
        good = isinstance(self.weights_source, str) and self.weights_source != ""
        require(good, "weights_source is empty")
        good = _is_int(self.dimension) and 1 <= self.dimension <= 16_000
        require(good, f"dimension {self.dimension!r}: want 1-16000, the most a halfvec holds")
        require(
            set(self.files) == set(WEIGHT_FILES), f"files {sorted(self.files)}: want {WEIGHT_FILES}"
        )
        for name, digest in self.files.items():
            good = isinstance(digest, str) and bool(SHA256_HEX.fullmatch(digest))
            require(good, f"{name}: {digest!r} is no SHA-256")
        require(len(self.taxonomy) > 0, "taxonomy is empty")
        for task, labels in self.taxonomy.items():
            _check_taxonomy(task, labels)
        want = backbone_digest(self.backbone, self.preprocessing, self.files[BACKBONE_FILE])
        require(self.backbone_digest == want, f"backbone_digest is not {want}")

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII, finite numbers; what `digest` hashes."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigurationError: not JSON, not canonical, or a key unknown, missing or wrong.
        """
        try:
            written = text if isinstance(text, str) else text.decode("ascii")
            record = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"The release's manifest is not JSON: {error}") from error
        _require_keys("manifest", record, cls)
        _require_keys("manifest.preprocessing", record["preprocessing"], Preprocessing)
        prep: dict[str, Any] = _lists_to_tuples(record["preprocessing"])
        for key in ("taxonomy", "files", "metrics"):
            require(isinstance(record[key], dict), f"{key}: want an object")
        record["taxonomy"] = _lists_to_tuples(record["taxonomy"])
        record["preprocessing"] = Preprocessing(**prep)
        manifest = cls(**record)
        require(manifest.to_json() == written, "the JSON is not canonical; it was edited")
        return manifest

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hex: the release's key everywhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def name(self) -> str:
        """For people: the backbone and the first twelve digits of the digest."""
        return f"{self.backbone}-{self.digest[:12]}"


@dataclass(frozen=True, slots=True, eq=False)
class FrozenBackbone:
    """A backbone by torchvision's name, its weights, and what its input looks like."""

    name: str
    state: State
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """A manifest with its weights in memory; `heads` by task, as the taxonomy names them."""

    manifest: Manifest
    backbone_state: State
    heads: Mapping[str, Head]

    def __post_init__(self) -> None:
        require(
            dict(self.manifest.taxonomy) == {t: h.labels for t, h in self.heads.items()},
            "heads and taxonomy differ",
        )
        for task, head in self.heads.items():
            require(head.task == task, f"head {head.task!r} is filed under {task!r}")
            wide = head.dimension == self.manifest.dimension
            require(wide, f"head {task}: reads {head.dimension}, not {self.manifest.dimension}")

    @property
    def backbone(self) -> FrozenBackbone:
        """What embeds: releases whose `manifest.backbone_digest` is equal share it."""
        manifest = self.manifest
        return FrozenBackbone(manifest.backbone, self.backbone_state, manifest.preprocessing)


def backbone_digest(backbone: str, preprocessing: Preprocessing, file_sha256: str) -> str:
    """What embeddings are keyed by: releases that differ in their heads only share it."""
    parts = {
        "backbone": backbone,
        "preprocessing": asdict(preprocessing),
        "sha256": file_sha256,
    }
    return sha256_hex(canonical_json(parts).encode())


def canonical_json(value: Any) -> str:
    """JSON whose bytes depend on the value only; NaN and infinity are a ConfigurationError."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"This can't be kept in a manifest: {error}") from error


def require(good: bool, problem: str) -> None:
    """Refuse a release with a ConfigurationError that says what is wrong."""
    if not good:
        raise ConfigurationError(f"This is not a release that this version can use: {problem}")


def _check_taxonomy(task: Any, labels: Any) -> None:
    good = isinstance(task, str) and bool(_TASK_NAME.fullmatch(task))
    require(good, f"task {task!r}: want small letters, digits and underscores")
    require(isinstance(labels, tuple), f"task {task}: want a list of labels")
    for label in labels:
        good = isinstance(label, str) and 0 < len(label) <= _MAX_LABEL_CHARS
        require(
            good, f"task {task}: label {str(label)[:50]!r}: want 1-{_MAX_LABEL_CHARS} characters"
        )
    distinct = len(labels) >= 2 and len(set(labels)) == len(labels)
    require(distinct, f"task {task}: want at least two labels, no two alike")


def _require_keys(where: str, record: Any, shape: type[Any]) -> None:
    require(isinstance(record, dict), f"{where}: want an object")
    want = {f.name for f in fields(shape)}
    unknown, missing = sorted(set(record) - want), sorted(want - set(record))
    require(not unknown and not missing, f"{where}: unknown keys {unknown}, missing keys {missing}")


def _lists_to_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def sha256_hex(data: bytes) -> str:
    """SHA-256 of the bytes, in 64 small hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
