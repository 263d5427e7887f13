"""A release with a real backbone, random weights, a small input and three labels."""

import numpy as np

from ops.models.release import Head, Preprocessing, Release
from ops.models.release_files import assemble

LABELS = ("chair", "lamp", "shoe")


def random_release(seed: int = 0, backbone_seed: int = 0, size: int = 64) -> Release:
    """A release of mobilenet_v3_small; the same seeds give the same digest.

    Args:
        seed: the seed of the head.
        backbone_seed: releases with the same one have the same embeddings.
        size: pixels of the input.
    """
    import torch

    from ops.models.backbones import Backbone

    torch.manual_seed(backbone_seed)
    backbone = Backbone("mobilenet_v3_small")
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(len(LABELS), backbone.dimension)).astype(np.float32)
    head = Head("category", LABELS, weight, np.zeros(len(LABELS), np.float32))
    return assemble(
        backbone="mobilenet_v3_small",
        weights_source="random",
        preprocessing=Preprocessing(size=size),
        backbone_state=backbone.state(),
        heads={"category": head},
        metrics={},
    )
