"""Whether embeddings of the goods alone are better than those of whole photos.

Owns the comparison: the accuracy of a classifier, and how often the most similar photo is of the
same class. Photos are divided by the hash of their bytes; near duplicates are rare in the sets that
it is for.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError
from ops.models.preprocessing import Preprocessing
from ops.photos.rendition import make_rendition

FOLDS = 5
MAX_PIXELS = 50_000_000

OnProgress = Callable[[str], object]


def compare_embeddings(
    folder: Path, variants: dict[str, Preprocessing], on_progress: OnProgress
) -> dict[str, Any]:
    """By variant of the preprocessing: `accuracy`, `same_class_at_1`, and those on photos.

    Args:
        folder: CLASS/*.jpg; folders may nest, the last one is the class.
    """
    from ops.models.embed import Embedder, prepare
    from ops.models.networks.names import PACKAGED_BACKBONE
    from ops.models.release import FrozenBackbone
    from resources.training.weights import starting_weights

    renditions, labels, fold = _photos(folder)
    start = starting_weights("pretrained", PACKAGED_BACKBONE, starter=_no_starter)
    found: dict[str, Any] = {"photos": len(labels), "classes": len(set(labels))}
    for name, preprocessing in variants.items():
        on_progress(f"{len(labels)} photos of {folder.name}: {name}")
        backbone = FrozenBackbone(start.backbone, start.state, preprocessing)
        embedder = Embedder(backbone, device="cpu", threads=1)
        rows = np.concatenate(
            [
                embedder.embed([prepare(data, preprocessing) for data in renditions[at : at + 32]])
                for at in range(0, len(renditions), 32)
            ]
        )
        found[name] = _figures(rows.astype(np.float32), np.array(labels), fold)
    return found


def _photos(folder: Path) -> tuple[list[bytes], list[str], NDArray[np.int64]]:
    renditions, labels, folds = [], [], []
    for path in sorted(folder.rglob("*.jpg")):
        data = path.read_bytes()
        try:
            renditions.append(make_rendition(data, max_pixels=MAX_PIXELS).data)
        except BadInputError:
            continue
        labels.append(path.parent.name)
        folds.append(hashlib.sha256(data).digest()[0] % FOLDS)
    return renditions, labels, np.array(folds)


def _figures(
    rows: NDArray[np.float32], labels: NDArray[np.str_], fold: NDArray[np.int64]
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    right = 0
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        model = LogisticRegression(C=30.0, max_iter=500).fit(rows[train], labels[train])
        right += int((model.predict(rows[test]) == labels[test]).sum())
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    same = labels[likeness.argmax(1)] == labels
    return {
        "accuracy": round(right / len(labels), 4),
        "same_class_at_1": round(float(same.mean()), 4),
    }


def _no_starter(backbone: str) -> dict[str, NDArray[Any]]:
    raise AssertionError(f"the package of {backbone} is a dependency")


def backbone_variants() -> dict[str, Preprocessing]:
    """Whole photos, as the backbone's maker prepares them and squashed; and their goods alone."""
    from ops.models.networks.names import PACKAGED_BACKBONE
    from ops.models.segments.foreground import foreground_sha256
    from resources.training.weights import starting_weights

    start = starting_weights("pretrained", PACKAGED_BACKBONE, starter=_no_starter).preprocessing
    whole = {"as_published": start, "squashed": replace(start, resize="squash", crop_pct=1.0)}
    goods = {
        f"{name}_goods": replace(it, foreground=foreground_sha256()) for name, it in whole.items()
    }
    return {**whole, **goods}
