"""Embeds photos: from a rendition's bytes to a unit vector.

Owns decoding, resizing, batching and the precision of the model. Does not depend on where photos
come from or where vectors are stored. The Embedder logs how it computes (mode, precision,
threads), because results of different configurations agree only within rounding. Importing this
module imports torch.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Literal, cast, get_args

import numpy as np
import simplejpeg
import structlog
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from ops.errors import BadInputError, ConfigurationError, Reason
from ops.models.backbones import Backbone, cpp_compiler, supports_bf16
from ops.models.release import FrozenBackbone, Preprocessing
from ops.vectors import Embeddings

Mode = Literal["auto", "eager", "traced", "compiled"]
Image = NDArray[np.uint8]
"""(size, size, 3) uint8 RGB, contiguous."""

# Each size is one compiled program. In measurements a batch of 64 was slower per photo than one
# of 32: it exceeds the cache.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
COMPILED_BATCH_SIZES = (1, 4, 16, 32)  # each costs 6 to 12 s of start-up
_CALL_COST_PHOTOS = 2  # the fixed cost of one call of the model, in photos; measured

# torch.fx (2.15) traces by patching Module.__call__ for the whole process. A model that another
# thread runs at that time fails in the tracer: a session does so while it loads the next release.
_MAX_RUNS = 64
_runs = threading.BoundedSemaphore(_MAX_RUNS)
_tracing = threading.Lock()

_log = structlog.get_logger(__name__)


def prepare(rendition_bytes: bytes, preprocessing: Preprocessing) -> Image:
    """Decode a rendition and squash it to the model's input: (size, size, 3) uint8 RGB.

    The same bytes give the same pixels in every batch and process.

    Raises:
        BadInputError: PHOTO_BROKEN, the JPEG can't be decoded.
    """
    size = preprocessing.size
    pixels = _decode(rendition_bytes, size)
    if pixels.shape[:2] == (size, size):
        return pixels
    nchw = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # a view: channels last in memory
    resized = F.interpolate(nchw, size=(size, size), mode="bilinear", antialias=True)
    return cast(Image, np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy()))


class Embedder:
    """A backbone that is loaded on one device in one process.

    Args:
        frozen: the weights and the preprocessing.
        device: "cpu" or "cuda"; see resources.inference.device.choose_device.
        threads: the number of torch threads for the whole process; 0: one for each core.
        mode: "eager", "traced" (frozen TorchScript), "compiled" (torch.compile, frozen), or
            "auto": compiled on a CPU with a C++ compiler, traced on one without, eager on CUDA.

    Attributes:
        dimension: D.
        mode: the mode in use; never "auto".
        precision: "bf16" where the hardware computes it, else "fp32".

    Raises:
        ConfigurationError: the weights are not the backbone's, or the mode is not available.
    """

    def __init__(
        self, frozen: FrozenBackbone, *, device: str, threads: int, mode: Mode = "auto"
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        backbone = Backbone(frozen.name)
        backbone.load(frozen.state)
        self.device = device
        self.dimension = backbone.dimension
        self.mode = _choose_mode(mode, device)
        self.precision = "bf16" if supports_bf16(device) else "fp32"
        self.batch_sizes = COMPILED_BATCH_SIZES if self.mode == "compiled" else BATCH_SIZES
        self._size = frozen.preprocessing.size
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        network = _Normalised(backbone, frozen.preprocessing, dtype).to(device).eval()
        self._run = self._build(network)
        shape = (self.batch_sizes[-1], self._size, self._size, 3)
        self._batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=device == "cuda")
        _log.info(
            "embedder.ready",
            backbone=backbone.name,
            device=device,
            mode=self.mode,
            precision=self.precision,
            threads=torch.get_num_threads(),
        )

    def warm_up(self) -> None:
        """Run every batch size, so that no later call compiles; takes seconds to a minute."""
        with _runs, torch.inference_mode(), torch._dynamo.config.patch(recompile_limit=256):
            for size in self.batch_sizes:
                for _ in range(3):  # TorchScript's profiling executor specialises on the second
                    self._run(self._batch[:size].to(self.device))

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images as (N, D) float16 unit rows on the CPU, in input order.

        Rows are normalised in float32, then rounded. Each image is (size, size, 3) uint8 RGB, as
        returned by `prepare`. An empty sequence gives (0, D). Not thread-safe.
        """
        rows = np.empty((len(images), self.dimension), dtype=np.float16)
        start = 0
        for size in _plan(len(images), self.batch_sizes):
            chunk = images[start : start + size]
            rows[start : start + len(chunk)] = self._embed_chunk(chunk, size)
            start += len(chunk)
        return rows

    @torch.inference_mode()
    def _embed_chunk(self, chunk: Sequence[Image], size: int) -> Embeddings:
        batch = self._batch[:size]
        np.stack(chunk, out=batch.numpy()[: len(chunk)])  # the rest is padding with old pixels
        with _runs:
            features = self._run(batch.to(self.device, non_blocking=True))[: len(chunk)]
        unit = F.normalize(features.float(), dim=1)
        return cast(Embeddings, unit.to(torch.float16).cpu().numpy())

    def _build(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        if self.mode == "eager":
            return network
        if self.mode == "compiled":
            return cast(
                Callable[[Tensor], Tensor],
                torch.compile(network, dynamic=False, options={"freezing": True}),
            )
        shape = (4, self._size, self._size, 3)
        example = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        with torch.inference_mode(), warnings.catch_warnings():
            # TorchScript is deprecated since torch 2.10 and has no replacement that starts within
            # a second; torch.export with AOTInductor may become one.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                network, example, check_trace=False
            )
            return cast(Callable[[Tensor], Tensor], torch.jit.freeze(traced))


class _Normalised(nn.Module):
    """(N, H, W, 3) uint8 -> (N, D): normalisation on the device, then the backbone, in `dtype`."""

    def __init__(self, backbone: Backbone, prep: Preprocessing, dtype: torch.dtype) -> None:
        super().__init__()
        # Norms are folded into the convolutions in float32, before the cast: on trained weights
        # this raises the lowest cosine to float32 from 0.9934 (folded by TorchScript, in bf16) to
        # 0.9992, and eager and traced give the same rows.
        with _no_model_running():
            folded = fuse(backbone.eval())
        self.backbone = folded.to(dtype).to(memory_format=torch.channels_last)
        std, mean = torch.tensor(prep.std), torch.tensor(prep.mean)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1).to(dtype))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1).to(dtype))
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Tensor:
        nchw = pixels.permute(0, 3, 1, 2).to(self.dtype)  # keeps channels last in memory
        images = torch.addcmul(cast(Tensor, self.shift), nchw, cast(Tensor, self.scale))
        return cast(Tensor, self.backbone(images))


@contextmanager
def _no_model_running() -> Iterator[None]:
    """Wait for the running batches; new ones wait until the end of the block."""
    with _tracing, ExitStack() as permits:
        for _ in range(_MAX_RUNS):
            permits.enter_context(_runs)
        yield


def _decode(data: bytes, size: int) -> Image:
    """Decode to RGB with both sides at least `size`, where the photo is that large.

    The decoder only scales by 1/2, 1/4 and 1/8: libjpeg's 5/8 to 7/8 are slower than a full
    decode (1.12 against 0.75 ms at 400x533) and differ more from it.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        shortest = min(height, width)
        factor = next((f for f in (8, 4, 2) if shortest // f >= size), 1)
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGB",
            fastdct=True,
            fastupsample=True,
            min_height=height // factor if factor > 1 else 0,
            min_width=width // factor if factor > 1 else 0,
            min_factor=1,
        )
    except ValueError as error:
        raise BadInputError(
            Reason.PHOTO_BROKEN, f"the rendition can't be decoded: {error}"
        ) from error
    return cast(Image, pixels)


def _choose_mode(mode: Any, device: str) -> Literal["eager", "traced", "compiled"]:
    if mode not in get_args(Mode):
        raise ConfigurationError(f"Unknown mode {mode!r}. Known: {', '.join(get_args(Mode))}.")
    compiler = cpp_compiler()
    if mode == "compiled" and compiler is None:
        raise ConfigurationError(
            "Mode 'compiled' needs a C++ compiler (g++ or clang++, or CXX). Install one, or "
            "choose 'traced'."
        )
    if mode != "auto":
        return cast(Literal["eager", "traced", "compiled"], mode)
    if device == "cuda":
        return "eager"
    if compiler is None:
        _log.warning(
            "embedder.no_cpp_compiler",
            mode="traced",
            effect="about 0.6 of the compiled speed",
            action="install g++ or clang++, or set CXX",
        )
        return "traced"
    return "compiled"


@cache
def _plan(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The batch sizes, largest first, that process `count` photos at the lowest cost."""
    largest = sizes[-1]
    full, rest = divmod(count, largest)
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for n in range(1, rest + 1):
        options = (
            (best[max(0, n - s)][0] + s + _CALL_COST_PHOTOS, (s, *best[max(0, n - s)][1]))
            for s in sizes
        )
        best.append(min(options))
    return (largest,) * full + tuple(sorted(best[rest][1], reverse=True))
