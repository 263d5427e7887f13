"""Encodes and decodes the two weight files of a release, and assembles releases.

Owns the format of the weight files: only safetensors is read, since a pickle executes code. Does
not depend on where the files are stored.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from ops.errors import ConfigurationError
from ops.models.release import (
    BACKBONE_FILE,
    HEADS_FILE,
    AnyHead,
    Head,
    Manifest,
    Preprocessing,
    Release,
    State,
    backbone_digest,
    canonical_json,
    listed,
    sha256_hex,
)
from ops.models.require import require
from ops.models.task_head import TaskHead


def assemble(
    *,
    backbone: str,
    weights_source: str,
    preprocessing: Preprocessing,
    backbone_state: State,
    heads: Mapping[str, AnyHead],
    metrics: Mapping[str, Any],
    dimension: int | None = None,
) -> Release:
    """Assemble a release from its parts; the same parts give the same digest.

    Args:
        dimension: D of the backbone's embeddings; None: that of the linear heads.

    Raises:
        ConfigurationError: the parts are inconsistent, or no head is given.
    """
    require(len(heads) > 0, "a release needs at least one head")
    files = {
        BACKBONE_FILE: sha256_hex(encode_backbone(backbone_state)),
        HEADS_FILE: sha256_hex(encode_heads(heads)),
    }
    taxonomy, configs = listed(heads)
    if dimension is None:
        widths = {head.dimension for head in heads.values() if isinstance(head, Head)}
        require(len(widths) > 0, "without a linear head, name the backbone's dimension")
        dimension = min(widths)
    manifest = Manifest(
        backbone=backbone,
        weights_source=weights_source,
        dimension=dimension,
        preprocessing=preprocessing,
        taxonomy=taxonomy,
        heads=json.loads(canonical_json(configs)),
        files=files,
        backbone_digest=backbone_digest(backbone, preprocessing, files[BACKBONE_FILE]),
        metrics=json.loads(canonical_json(metrics)),
    )
    return Release(manifest=manifest, backbone_state=backbone_state, heads=dict(heads))


def encode_backbone(state: State) -> bytes:
    """Encode the backbone's safetensors file; the same weights give the same bytes."""
    require(len(state) > 0, "the backbone has no weights")
    return save_safetensors(
        {k: np.ascontiguousarray(state[k]).reshape(state[k].shape) for k in sorted(state)}
    )


def decode_backbone(data: bytes) -> State:
    """Decode the result of `encode_backbone`.

    Raises:
        ConfigurationError: the bytes are not a safetensors file.
    """
    return _decode(data, BACKBONE_FILE)


def encode_heads(heads: Mapping[str, AnyHead]) -> bytes:
    """Encode the heads' safetensors file: `<task>.<tensor>`; of a linear head `<task>.weight` and
    `<task>.bias`."""
    arrays: State = {}
    for task in sorted(heads):
        head = heads[task]
        if isinstance(head, Head):
            arrays[f"{task}.weight"] = np.ascontiguousarray(head.weight)
            arrays[f"{task}.bias"] = np.ascontiguousarray(head.bias)
            continue
        for name, tensor in sorted(head.tensors.items()):
            arrays[f"{task}.{name}"] = np.ascontiguousarray(tensor).reshape(tensor.shape)
    return save_safetensors(arrays)


def decode_heads(
    data: bytes,
    taxonomy: Mapping[str, tuple[str, ...]],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, AnyHead]:
    """Decode the result of `encode_heads` for the manifest's taxonomy, and its `heads`.

    Raises:
        ConfigurationError: the bytes are not a safetensors file, or its tensors do not match the
            taxonomy, or belong to no task of the manifest.
    """
    arrays = _decode(data, HEADS_FILE)
    configs = {} if configs is None else configs
    expected = {f"{task}.{part}" for task in taxonomy for part in ("weight", "bias")}
    others: dict[str, State] = {task: {} for task in configs if task not in taxonomy}
    for name in set(arrays) - expected:
        task, _, tensor = name.partition(".")
        if task in others:
            others[task][tensor] = arrays[name]
            expected.add(name)
    require(
        set(arrays) == expected, f"{HEADS_FILE} has {sorted(arrays)}, expected {sorted(expected)}"
    )
    heads: dict[str, AnyHead] = {
        task: Head(
            *(task, labels, arrays[f"{task}.weight"], arrays[f"{task}.bias"]),
            config=configs.get(task, {}),
        )
        for task, labels in taxonomy.items()
    }
    for task, tensors in others.items():
        heads[task] = TaskHead(task, tensors, configs[task])
    return heads


def _decode(data: bytes, name: str) -> State:
    try:
        return dict(load_safetensors(data))
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype unknown to numpy
        raise ConfigurationError(f"{name} is not a safetensors file: {error}") from error
