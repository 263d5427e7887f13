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
    Head,
    Manifest,
    Preprocessing,
    Release,
    State,
    backbone_digest,
    canonical_json,
    require,
    settings_of,
    sha256_hex,
)


def assemble(
    *,
    backbone: str,
    weights_source: str,
    preprocessing: Preprocessing,
    backbone_state: State,
    heads: Mapping[str, Head],
    metrics: Mapping[str, Any],
) -> Release:
    """Assemble a release from its parts; the same parts give the same digest.

    Raises:
        ConfigurationError: the parts are inconsistent, or no head is given.
    """
    require(len(heads) > 0, "a release needs at least one head")
    files = {
        BACKBONE_FILE: sha256_hex(encode_backbone(backbone_state)),
        HEADS_FILE: sha256_hex(encode_heads(heads)),
    }
    manifest = Manifest(
        backbone=backbone,
        weights_source=weights_source,
        dimension=next(iter(heads.values())).dimension,
        preprocessing=preprocessing,
        taxonomy={task: head.labels for task, head in heads.items()},
        files=files,
        backbone_digest=backbone_digest(backbone, preprocessing, files[BACKBONE_FILE]),
        metrics=json.loads(canonical_json(metrics)),
        heads=json.loads(canonical_json(settings_of(heads))),
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


def encode_heads(heads: Mapping[str, Head]) -> bytes:
    """Encode the heads' safetensors file: `<task>.weight` and `<task>.bias` for each."""
    arrays: State = {}
    for task in sorted(heads):
        arrays[f"{task}.weight"] = np.ascontiguousarray(heads[task].weight)
        arrays[f"{task}.bias"] = np.ascontiguousarray(heads[task].bias)
    return save_safetensors(arrays)


def decode_heads(
    data: bytes,
    taxonomy: Mapping[str, tuple[str, ...]],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Head]:
    """Decode the result of `encode_heads` for the manifest's taxonomy, and its `heads`.

    Raises:
        ConfigurationError: the bytes are not a safetensors file, or its tensors do not match the
            taxonomy.
    """
    arrays = _decode(data, HEADS_FILE)
    configs = {} if configs is None else configs
    expected = {f"{task}.{part}" for task in taxonomy for part in ("weight", "bias")}
    require(
        set(arrays) == expected, f"{HEADS_FILE} has {sorted(arrays)}, expected {sorted(expected)}"
    )
    return {
        task: Head(
            *(task, labels, arrays[f"{task}.weight"], arrays[f"{task}.bias"]),
            config=configs.get(task, {}),
        )
        for task, labels in taxonomy.items()
    }


def _decode(data: bytes, name: str) -> State:
    try:
        return dict(load_safetensors(data))
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype unknown to numpy
        raise ConfigurationError(f"{name} is not a safetensors file: {error}") from error
