"""The options of a demo."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of `lalafo demo`."""

    home: Path
    ads: int = 200
    photos: Path | None = None
    weights: str = "auto"
    backbone: str = "auto"
    finetune: bool = False
    exit_at_end: bool = False
    story: bool = True
    port: int | None = None
    gateway_port: int | None = None
    seed: int = 7
