"""Names of backbones: of torchvision's networks as they are, of timm's after "timm:".

Does not import torch.
"""

TIMM = "timm:"
STARTER_BACKBONE = "mobilenet_v3_small"
"""The backbone of the release that ships with this package."""
PACKAGED_BACKBONE = "timm:tf_efficientnet_lite0"
"""A Python package that this one depends on has its ImageNet weights."""


def name_in_ids(backbone: str) -> str:
    """A backbone's name as it is in names of releases, keys of embeddings and folders.

    Without "timm:" and the dot before the tag of timm's weights: the digest beside it
    distinguishes networks and weights.
    """
    return backbone.removeprefix(TIMM).replace(".", "_")
