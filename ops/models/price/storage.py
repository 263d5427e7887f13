"""A price model as named tensors and JSON, and back.

Owns the names. A tensor's begins with the number of its currency: `c0_photo`, `c0_low_leaf`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.models.price.anchors import Anchors
from ops.models.price.features import Attributes, Features
from ops.models.price.means import NodeMeans
from ops.models.price.model import PriceModel
from ops.models.price.ridge import Ridge
from ops.models.price.trees import Forest

Tensors = dict[str, NDArray[Any]]

_RIDGES = ("photo", "text", "linear", "smooth")
_FORESTS = ("middle", "low", "high")


def to_tensors(model: PriceModel, number: int) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of a currency's model, and the rest as JSON."""
    features, attributes = model.features, model.features.attributes
    tensors: Tensors = {}
    biases: dict[str, float] = {}
    for name in _RIDGES:
        ridge: Ridge | None = getattr(features, name)
        if ridge is not None:
            tensors[name] = ridge.weight
            biases[name] = ridge.bias
    if features.anchors is not None:
        tensors["anchor_rows"] = features.anchors.rows
        tensors["anchor_scale"] = features.anchors.scale
    bases: dict[str, float] = {}
    for name in _FORESTS:
        forest: Forest = getattr(model, name)
        bases[name] = forest.base
        for part in ("feature", "threshold", "leaf"):
            tensors[f"{name}_{part}"] = getattr(forest, part)
    for index, means in attributes.codes.items():
        tensors[f"code{index}_values"] = np.array(list(means), np.float64)
        tensors[f"code{index}_means"] = np.array(list(means.values()), np.float64)
    nodes = features.categories
    config = {
        "biases": biases,
        "bases": bases,
        "names": list(attributes.names),
        "centre": attributes.centre.tolist(),
        "spread": attributes.spread.tolist(),
        "codes": list(attributes.codes),
        "nodes": [[list(node), nodes.means[node], n] for node, n in nodes.counts.items()],
        "offsets": [[list(node), by, n] for node, (by, n) in model.offsets.items()],
    }
    return {f"c{number}_{name}": tensor for name, tensor in tensors.items()}, config


def from_tensors(
    tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any], number: int
) -> PriceModel:
    """The model of which `to_tensors` made the tensors and the JSON.

    Raises:
        KeyError: a tensor or a setting is missing.
    """
    of = {name: tensors[f"c{number}_{name}"] for name in _names(config)}
    codes = {
        index: dict(
            zip(of[f"code{index}_values"].tolist(), of[f"code{index}_means"].tolist(), strict=True)
        )
        for index in config["codes"]
    }
    attributes = Attributes(
        tuple(config["names"]), np.array(config["centre"]), np.array(config["spread"]), codes
    )
    means = {tuple(node): (mean, count) for node, mean, count in config["nodes"]}
    categories = NodeMeans(
        {node: mean for node, (mean, _) in means.items()},
        {node: count for node, (_, count) in means.items()},
    )
    ridges = {
        name: Ridge(of[name], config["biases"][name]) if name in config["biases"] else None
        for name in _RIDGES
    }
    anchors = Anchors(of["anchor_rows"], of["anchor_scale"]) if "anchor_rows" in of else None
    forests = {
        name: Forest(
            of[f"{name}_feature"],
            of[f"{name}_threshold"],
            of[f"{name}_leaf"],
            config["bases"][name],
        )
        for name in _FORESTS
    }
    offsets = {tuple(node): (by, count) for node, by, count in config["offsets"]}
    return PriceModel(
        Features(categories, attributes, anchors=anchors, **ridges), offsets=offsets, **forests
    )


def _names(config: Mapping[str, Any]) -> list[str]:
    forests = [f"{n}_{part}" for n in _FORESTS for part in ("feature", "threshold", "leaf")]
    codes = [f"code{index}_{part}" for index in config["codes"] for part in ("values", "means")]
    anchors = ["anchor_rows", "anchor_scale"] if "smooth" in config["biases"] else []
    return [*config["biases"], *forests, *codes, *anchors]
