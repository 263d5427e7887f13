"""Chooses the engine of a backbone on this host, by a short measurement.

Owns what is measured and the rule. Where the result is kept: `resources/inference/engines.py`.
Importing this module does not import torch; measuring does.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from ops.models.engines.engine import Engine, EngineName, Image, Precision, plan_calls
from ops.models.engines.openvino_engine import ConvertedBackbone, OpenVinoEngine, convert
from ops.models.release import FrozenBackbone

COUNTS = (1, 4, 32)
"""Numbers of photos that are embedded at once: the stream's, and the batch lane's."""
LOWEST_COSINE = 0.999
"""Rows that are as near to those of eager float32 agree."""
LOWEST_COSINE_OF_TRACED = 0.995
WITHIN = 0.001
"""In bf16 some networks are further from float32 whatever computes them (EfficientNet-Lite0:
0.998). There an engine agrees whose cosine is at most this much below that of traced PyTorch."""
_ROUNDS = 10
_BUDGET_S = 0.5  # for one number of photos; at least one round is run

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine that was chosen, and what was measured.

    `ms_per_photo`: by engine, then by number of photos. `cosine`: by engine, the lowest between a
    row and that of eager float32.
    """

    engine: EngineName
    precision: Precision
    ms_per_photo: Mapping[str, Mapping[str, float]]
    cosine: Mapping[str, float]

    @property
    def reason(self) -> str:
        """For a person to read: `openvino bf16: 1.1 ms a photo (traced 2.8)`."""
        fastest = {name: min(by_count.values()) for name, by_count in self.ms_per_photo.items()}
        others = ", ".join(f"{n} {ms:.1f}" for n, ms in fastest.items() if n != self.engine)
        return f"{self.engine} {self.precision}: {fastest[self.engine]:.1f} ms a photo ({others})"


def choose(
    frozen: FrozenBackbone, *, threads: int, precision: Precision
) -> tuple[EngineChoice, ConvertedBackbone]:
    """Measure `traced` and `openvino` on the CPU; the fastest that agrees with eager float32 wins.

    `traced` is PyTorch's own arithmetic and always agrees. `compiled` starts too slowly to be a
    candidate.

    Raises:
        ConfigurationError: the weights are not the backbone's.
    """
    from ops.models.engines.torch_engine import TorchEngine

    converted = convert(frozen)
    engines: dict[str, Engine] = {
        "traced": TorchEngine(frozen, name="traced", device="cpu", precision=precision),
        "openvino": OpenVinoEngine(converted, threads=threads, precision=precision),
    }
    reference = TorchEngine(frozen, name="eager", device="cpu", precision="fp32")
    images = example_images(max(COUNTS), frozen.preprocessing.size)
    expected = unit_rows(reference, images[:4])
    cosine = {
        name: float((unit_rows(engine, images[:4]) * expected).sum(axis=1).min())
        for name, engine in engines.items()
    }
    choice = decide(ms_per_photo(engines, images), cosine, precision)
    _log.info("engine.measured", backbone=frozen.name, choice=choice.reason)
    return choice, converted


def decide(
    times: Mapping[str, Mapping[str, float]], cosine: Mapping[str, float], precision: Precision
) -> EngineChoice:
    """The rule: the lowest sum of `times` over the numbers of photos, of engines that agree."""
    agreeing: list[EngineName] = ["traced"]
    needed = min(LOWEST_COSINE, max(cosine["traced"] - WITHIN, LOWEST_COSINE_OF_TRACED))
    if cosine["openvino"] >= needed:
        agreeing.append("openvino")
    fastest = min(agreeing, key=lambda name: sum(times[name].values()))
    return EngineChoice(fastest, precision, times, cosine)


def ms_per_photo(
    engines: Mapping[str, Engine], images: Sequence[Image], counts: Sequence[int] = COUNTS
) -> dict[str, dict[str, float]]:
    """Milliseconds a photo by engine and number of photos: the lowest over the rounds.

    The engines take turns, so that other work on the machine meets them alike.
    """
    times: dict[str, dict[str, float]] = {name: {} for name in engines}
    for count in counts:
        for engine in engines.values():
            features(engine, images[:count])  # the first call compiles and allocates
        started, rounds = time.perf_counter(), 0
        while rounds == 0 or (rounds < _ROUNDS and time.perf_counter() - started < _BUDGET_S):
            for name, engine in engines.items():
                began = time.perf_counter()
                features(engine, images[:count])
                ms = (time.perf_counter() - began) * 1e3 / count
                times[name][str(count)] = min(ms, times[name].get(str(count), ms))
            rounds += 1
    return times


def features(engine: Engine, images: Sequence[Image]) -> NDArray[np.float32]:
    """(N, D) float32 features of images, in the sizes of calls that cost least."""
    rows = np.empty((len(images), engine.dimension), np.float32)
    start = 0
    for size in plan_calls(len(images), engine.batch_sizes, engine.call_cost):
        chunk = images[start : start + size]
        rows[start : start + len(chunk)] = engine.run(chunk, size)
        start += len(chunk)
    return rows


def unit_rows(engine: Engine, images: Sequence[Image]) -> NDArray[np.float32]:
    """The features of images, each divided by its length; a row of zeros stays one."""
    rows = features(engine, images)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def example_images(count: int, size: int) -> list[Image]:
    """Smooth images with an edge, as photos have them: (size, size, 3) uint8, always the same."""
    from PIL import Image as Pillow

    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = Pillow.fromarray(rng.integers(0, 255, (7, 7, 3), np.uint8))
        image = np.array(coarse.resize((size, size), Pillow.Resampling.BICUBIC))
        image[: size // 3, size // 2 :] = rng.integers(0, 255, 3, np.uint8)
        images.append(image)
    return images
