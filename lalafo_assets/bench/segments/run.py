"""Runs `lalafo bench segments`: figures of masks on drawn and real photos, time and memory.

Owns what the JSON document says.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.segments.foreground import backbone_variants, compare_embeddings
from lalafo_assets.bench.segments.judging import (
    BASELINES,
    drawn_photos,
    figures,
    of_network,
    real_photos,
)
from lalafo_assets.bench.segments.samples import read_real
from ops.errors import ConfigurationError
from ops.models.segments.head import MaskNetwork
from ops.models.segments.network import LoadedNetwork
from ops.models.segments.shipped import shipped_head
from ops.models.task_head import TaskHead
from ops.tasks import Photo
from ops.tasks.segments import predict_photos

TIMED = 100  # photos
DIFFERENT = 64  # photos in the series whose memory is watched: sizes differ from photo to photo
LONGEST = 640
POINTS = 50  # of the curve

OnProgress = Callable[[str], object]


def run_bench(
    *,
    photos: Path | None,
    drawn: int,
    memory: int,
    network: MaskNetwork | None,
    on_progress: OnProgress,
    classes: Sequence[Path] = (),
) -> str:
    """Judge the network, and return the JSON line.

    Args:
        photos: a folder with `photos/*.jpg` and `masks/*.png`.
        memory: photos to answer one after the other; 0: memory is not watched.
        network: None: the shipped one.
        classes: folders of CLASS/*.jpg, on which embeddings of the goods alone are compared with
            those of whole photos, by the shipped network.
    """
    head = shipped_head() if network is None else network.as_head()
    loaded = LoadedNetwork(MaskNetwork.of_head(head))
    on_progress(f"{drawn} drawn photos")
    document: dict[str, Any] = {
        "network": loaded.network.name,
        "drawn": figures(of_network(loaded), drawn_photos(drawn)),
    }
    if photos is not None:
        real = read_real(photos, LONGEST)
        on_progress(f"{len(real)} photos of {photos.name}")
        document["real"] = figures(of_network(loaded), real_photos(real))
        for name, finder in BASELINES.items():
            on_progress(f"baseline: {name}")
            document[name] = figures(finder, real_photos(real))
    on_progress(f"time of {TIMED} photos")
    document["cpu_ms_per_photo"] = _cpu_ms(head)
    if memory:
        on_progress(f"memory over {memory} photos")
        document["memory"] = memory_curve(head, memory, on_progress)
    for folder in classes:
        found = compare_embeddings(folder, backbone_variants(), on_progress)
        document.setdefault("embeddings", {})[folder.name] = found
    return json.dumps(document)


def memory_curve(head: TaskHead, count: int, on_progress: OnProgress) -> dict[str, Any]:
    """The resident memory of this process in MB, while the task answers photos of all sizes.

    `growth_mb`: its median in the last tenth of the photos against the second tenth.
    """
    sizes = np.random.default_rng(0)
    pool = [_photo(int(sizes.integers(1, LONGEST + 1)), seed) for seed in range(DIFFERENT)]
    step, curve = max(1, count // POINTS), []
    started, cpu = time.monotonic(), time.process_time()
    for index in range(count):
        predict_photos([pool[index % DIFFERENT]], head)
        if (index + 1) % step == 0:
            curve.append([index + 1, round(_resident_mb(), 1)])
            on_progress(f"{index + 1} of {count} photos: {curve[-1][1]:.0f} MB")
    tenth = max(1, len(curve) // 10)
    early, late = curve[tenth : 2 * tenth], curve[-tenth:]
    growth = np.median([mb for _, mb in late]) - np.median([mb for _, mb in early])
    return {
        "photos": count,
        "curve": curve,
        "growth_mb": round(float(growth), 1),
        "seconds": round(time.monotonic() - started, 1),
        "cpu_ms_per_photo": round((time.process_time() - cpu) / count * 1e3, 1),
    }


def _cpu_ms(head: TaskHead) -> float:
    """CPU time of a photo, through the task: its mask and its answer."""
    photos = list(_large(TIMED))
    predict_photos(photos[:3], head)
    started = time.process_time()
    for photo in photos:
        predict_photos([photo], head)
    return round((time.process_time() - started) / len(photos) * 1e3, 1)


def _large(count: int) -> Iterator[Photo]:
    """Drawn photos of the largest size of a rendition."""
    import cv2

    for pixels, _ in drawn_photos(count):
        scale = LONGEST / max(pixels.shape[:2])
        size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
        enlarged = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        yield Photo(rendition=np.asarray(enlarged, np.uint8))


def _photo(shorter: int, seed: int) -> Photo:
    """Noise of 640 by `shorter` pixels: what masks are the largest for."""
    rng = np.random.default_rng(seed)
    shape = (LONGEST, shorter, 3) if seed % 2 else (shorter, LONGEST, 3)
    pixels: NDArray[np.uint8] = rng.integers(0, 255, shape, np.uint8)
    return Photo(rendition=pixels)


def _resident_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def network_of(path: Path) -> MaskNetwork:
    """A network of an ONNX file.

    Raises:
        ConfigurationError: it is none that releases can have.
    """
    from ops.models.segments.conversion import from_onnx

    try:
        return from_onnx(path.read_bytes(), name=path.name)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
