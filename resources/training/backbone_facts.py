"""Facts about backbones for a person who chooses one: size, where its weights are, its speed here.

Owns what is counted and measured, not how it is shown. Importing this module does not import torch;
its functions do.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from ops.errors import ConfigurationError
from ops.models.networks.names import PACKAGED_BACKBONE, STARTER_BACKBONE
from resources.training.weights import weights_here

_log = structlog.get_logger(__name__)

SUGGESTED = (
    PACKAGED_BACKBONE,
    "timm:tf_efficientnet_lite1",
    "timm:tf_efficientnet_lite2",
    STARTER_BACKBONE,
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "timm:convnextv2_atto",
    "timm:mobilenetv4_conv_small",
    "timm:repvit_m0_9",
    "timm:fastvit_t8",
    "timm:vit_base_patch16_siglip_224",
)
"""What fits a CPU, and a large one for comparison."""


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """A backbone. `dimension`: the length of its embeddings. `size`: pixels of its square input.

    `weights`: "package", "cache" and "starter" are here; "download" needs a network. `licence`: of
    the published weights, as the library names it; "": it names none.
    """

    name: str
    dimension: int
    parameters: int
    size: int
    resize: str
    weights: tuple[str, ...]
    licence: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds a photo on this host, one thread, by the engine that would be chosen.

    `by_count`: by the number of photos at once.
    """

    engine: str
    precision: str
    by_count: dict[str, float]


def chosen_names(patterns: Sequence[str]) -> list[str]:
    """The backbones that patterns of the shell name, each once; the suggested ones if none is.

    Raises:
        ConfigurationError: a pattern names no backbone.
    """
    from ops.models.backbones import check_backbone, known_backbones

    if not patterns:
        return list(SUGGESTED)
    names: dict[str, None] = {}
    for pattern in patterns:
        found = fnmatch.filter(known_backbones(), pattern)
        if not found:  # perhaps a name with a tag
            check_backbone(pattern)
            found = [pattern]
        names |= dict.fromkeys(found)
    return list(names)


def describe_backbone(name: str) -> BackboneFacts | None:
    """The facts of a backbone, whose network is built without memory for its weights.

    Returns:
        None where no release can have it: its input is not square RGB.
    """
    import torch

    from ops.models.backbones import Backbone, published

    try:
        facts = published(name)
        with torch.device("meta"):
            backbone = Backbone(name)
    except ConfigurationError as error:
        _log.info("backbone.left_out", backbone=name, error=str(error))
        return None
    weights = weights_here(name)
    weights += ("starter",) if name == STARTER_BACKBONE else ()
    weights += ("download",) if facts.sha256_prefix is not None or facts.hub is not None else ()
    return BackboneFacts(
        name=name,
        dimension=backbone.dimension,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        size=facts.preprocessing.size,
        resize=facts.preprocessing.resize,
        weights=weights,
        licence=facts.licence,
    )


def measure_backbone(name: str) -> Speed:
    """Measure a backbone with random weights as a release's is measured; takes 10 s or more.

    Raises:
        ConfigurationError: OpenVINO can't convert or run it here.
    """
    import torch

    from ops.models.backbones import Backbone, published
    from ops.models.release import FrozenBackbone
    from resources.inference.engines import measure_engine

    torch.manual_seed(0)
    frozen = FrozenBackbone(name, Backbone(name).state(), published(name).preprocessing)
    choice = measure_engine(frozen)
    return Speed(choice.engine, choice.precision, dict(choice.ms_per_photo[choice.engine]))
