"""A release made on the spot: a real backbone with random weights, small input, two labels."""

import numpy as np

from ops.models.release import Head, Preprocessing, Release
from ops.models.release_files import assemble

LABELS = ("chair", "lamp", "shoe")


def random_release(seed: int = 0, backbone_seed: int = 0, size: int = 64) -> Release:
    """A release of mobilenet_v3_small; the same seeds give the same digest.

    Args:
        seed: of the head. Releases that share `backbone_seed` share their embeddings.
        size: pixels of the input: small, since what is learnt does not matter here.
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
