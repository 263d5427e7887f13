"""How a rendition becomes the input of a network: part of a release's identity.

Owns the record in the manifest, and the sizes before and after the crop. `embed.prepare` computes
the pixels. Does not depend on torch.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Self

from ops.models.require import require

LONGEST_SIDE = 640  # of a rendition, in pixels
RESIZES = ("squash", "center")
INTERPOLATIONS = ("bilinear", "bicubic")
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's, of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)

_FIRST_KEYS = frozenset({"size", "resize", "mean", "std"})
_FOREGROUND = re.compile(r"([0-9a-f]{64})?")
_LATER_KEYS = frozenset({"crop_pct", "interpolation"})  # absent where they have their defaults


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a rendition is converted to the model's input.

    `size`: pixels of the square input.
    `resize`: "squash", each side is resized to `scaled` pixels, and the proportions are lost;
        "center", the shorter side is resized to `scaled` pixels, and the proportions are kept.
        Both cut out the central square of `size` pixels. Both resize with antialiasing.
    `mean`, `std`: of RGB in [0, 1], for normalisation in the batch.
    `crop_pct`: `size` divided by `scaled`, as timm and torchvision configure it.
    `interpolation`: "bilinear" or "bicubic".
    `foreground`: "", the whole photo; else the SHA-256 of the network of masks by which the goods
        are cut out before.
    """

    size: int = 224
    resize: str = "squash"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_pct: float = 1.0
    interpolation: str = "bilinear"
    foreground: str = ""

    def __post_init__(self) -> None:
        whole = isinstance(self.size, int) and not isinstance(self.size, bool)
        _check(whole and 32 <= self.size <= 1024, f"size {self.size!r}: expected 32-1024")
        _check(self.resize in RESIZES, f"resize {self.resize!r}: expected of {RESIZES}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            good = isinstance(values, tuple) and len(values) == 3
            good = good and all(isinstance(v, float) and 0 <= v <= 1 for v in values)
            _check(good, f"{name} {values!r}: expected three floats in [0, 1]")
        _check(min(self.std) > 0, f"std {self.std!r}: expected positive numbers")
        good = isinstance(self.crop_pct, float) and 0.25 <= self.crop_pct <= 1
        _check(good, f"crop_pct {self.crop_pct!r}: expected a float in [0.25, 1]")
        _check(
            self.interpolation in INTERPOLATIONS,
            f"interpolation {self.interpolation!r}: expected of {INTERPOLATIONS}",
        )
        good = isinstance(self.foreground, str) and bool(_FOREGROUND.fullmatch(self.foreground))
        _check(good, f"foreground {self.foreground!r}: expected a SHA-256 in hex, or nothing")

    @property
    def pixels(self) -> tuple[int, str, float, str, str]:
        """What the pixels depend on: two that differ in `mean` and `std` alone prepare the same."""
        return self.size, self.resize, self.crop_pct, self.interpolation, self.foreground

    @property
    def scaled(self) -> int:
        """Pixels of the resized side, before the crop.

        timm's formula (`transforms_imagenet_eval`). The addend is for ratios of whole numbers:
        224 / (224 / 232) is below 232 in floating point.
        """
        return math.floor(self.size / self.crop_pct + 1e-6)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which a photo of that height and width is resized before the crop.

        The longer side is rounded down, as in torchvision's `Resize`.
        """
        side = self.scaled
        if self.resize == "squash":
            return side, side
        shorter = min(height, width)
        return side * height // shorter, side * width // shorter

    def record(self) -> dict[str, Any]:
        """The JSON object of the manifest.

        Releases before `crop_pct`, `interpolation` and `foreground` keep their bytes, and so their
        digests: the first two are present only where one differs from its default, the last where
        it is set.
        """
        values = {name: getattr(self, name) for name in sorted(_FIRST_KEYS)}
        later = {name: getattr(self, name) for name in sorted(_LATER_KEYS)}
        if later != {"crop_pct": 1.0, "interpolation": "bilinear"}:
            values |= later
        return values | ({"foreground": self.foreground} if self.foreground else {})

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Read what `record` returned, with JSON's lists for tuples.

        Raises:
            ConfigurationError: it is no object, or a key is unknown, missing or wrong.
        """
        _check(isinstance(record, dict), "expected an object")
        known = _FIRST_KEYS | _LATER_KEYS if set(record) & _LATER_KEYS else _FIRST_KEYS
        known |= {"foreground"} & set(record)
        unknown, missing = sorted(set(record) - known), sorted(known - set(record))
        _check(not unknown and not missing, f"unknown keys {unknown}, missing keys {missing}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Upright(Preprocessing):
    """The rendition as it is, (H, W, 3), for tasks that read it; part of no release."""

    @property
    def pixels(self) -> tuple[int, str, float, str, str]:
        """Equal to those of no other preprocessing."""
        return 0, "upright", 1.0, "", ""


def _check(good: bool, problem: str) -> None:
    require(good, f"manifest.preprocessing: {problem}")
