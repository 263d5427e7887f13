"""Embeds photos: from a rendition's bytes to a unit vector.

Owns decoding, resizing, and the choice among engines that a mode names. Does not depend on where
photos come from or where vectors are stored. The Embedder logs how it computes (engine, precision,
threads), because results of different configurations agree only within rounding. Importing this
module imports torch, but not torchvision, which takes as long again: engines of torch do.
"""

from collections.abc import Sequence
from typing import cast, get_args

import numpy as np
import simplejpeg
import structlog
import torch
import torch.nn.functional as F

from ops.errors import BadInputError, ConfigurationError, Reason
from ops.models.engines.choice import unit_rows
from ops.models.engines.engine import Engine, EngineName, Image, Mode, Precision
from ops.models.engines.openvino_engine import ConvertedBackbone, OpenVinoEngine, convert
from ops.models.preprocessing import LONGEST_SIDE, Upright
from ops.models.processor import supports_bf16
from ops.models.release import FrozenBackbone, Preprocessing
from ops.vectors import Embeddings

_log = structlog.get_logger(__name__)


def prepare(rendition_bytes: bytes, preprocessing: Preprocessing) -> Image:
    """Decode a rendition and resize it to the model's input: (size, size, 3) uint8 RGB.

    With `Upright` it is not resized: (H, W, 3). The same bytes give the same pixels in every batch
    and process.

    Raises:
        BadInputError: PHOTO_BROKEN, the JPEG can't be decoded.
    """
    if isinstance(preprocessing, Upright):
        return _decode(rendition_bytes, LONGEST_SIDE)
    if preprocessing.foreground:
        from ops.models.segments.foreground import goods_alone

        pixels = goods_alone(_decode(rendition_bytes, LONGEST_SIDE), preprocessing.foreground)
    else:
        pixels = _decode(rendition_bytes, preprocessing.scaled)
    if preprocessing.resize == "center":
        pixels = _without_ends(pixels)
    height, width = preprocessing.resized(*pixels.shape[:2])
    size = preprocessing.size
    if pixels.shape[:2] != (height, width):
        nchw = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # a view: channels last in memory
        resized = F.interpolate(
            nchw, size=(height, width), mode=preprocessing.interpolation, antialias=True
        )
        pixels = resized[0].permute(1, 2, 0).numpy()
    top, left = round((height - size) / 2), round((width - size) / 2)  # as torchvision's CenterCrop
    return cast(Image, np.ascontiguousarray(pixels[top : top + size, left : left + size]))


class Embedder:
    """A backbone that is loaded on one device in one process.

    Args:
        frozen: the weights and the preprocessing.
        device: "cpu" or "cuda"; see resources.inference.device.choose_device.
        threads: the number of threads of the engine, and of torch for the whole process; 0: one
            for each core.
        mode: an engine's name, or "auto": openvino on a CPU, traced on CUDA. What a session uses on
            this host was measured: resources.inference.loading.new_embedder.
        converted: the backbone in OpenVINO's format; None: convert it here, in 3 seconds.

    Attributes:
        dimension: D.
        mode: the engine in use; never "auto".
        precision: "bf16" where the hardware computes it, else "fp32".

    Raises:
        ConfigurationError: the weights are not the backbone's, or the mode is not available.
    """

    def __init__(
        self,
        frozen: FrozenBackbone,
        *,
        device: str,
        threads: int,
        mode: Mode = "auto",
        converted: ConvertedBackbone | None = None,
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        self.mode = _engine_name(mode, device)
        self.precision: Precision = "bf16" if supports_bf16(device) else "fp32"
        self.engine = self._load(frozen, device, threads, converted)
        self.device = device
        self.dimension = self.engine.dimension
        _log.info(
            "embedder.ready",
            backbone=frozen.name,
            device=device,
            mode=self.mode,
            precision=self.precision,
            threads=torch.get_num_threads(),
        )

    def warm_up(self) -> None:
        """Run every batch size, so that no later call compiles; a minute if compiled."""
        self.engine.warm_up()

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images as (N, D) float16 unit rows on the CPU, in input order.

        Rows are normalised in float32, then rounded. Each image is (size, size, 3) uint8 RGB, as
        returned by `prepare`. An empty sequence gives (0, D). Not thread-safe.
        """
        return unit_rows(self.engine, images).astype(np.float16)

    def _load(
        self,
        frozen: FrozenBackbone,
        device: str,
        threads: int,
        converted: ConvertedBackbone | None,
    ) -> Engine:
        if self.mode == "openvino":
            form = convert(frozen) if converted is None else converted
            return OpenVinoEngine(form, threads=threads, precision=self.precision)
        from ops.models.engines.torch_engine import TorchEngine

        return TorchEngine(frozen, name=self.mode, device=device, precision=self.precision)


def _without_ends(pixels: Image) -> Image:
    """The middle of a photo that is more than twice as long as wide.

    The crop to a square removes the ends anyway, and a strip of 640 by 1 pixels would be resized
    to 256 times its length.
    """
    height, width = pixels.shape[:2]
    most = 2 * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return np.ascontiguousarray(pixels[top : top + most, left : left + most])


def _decode(data: bytes, size: int) -> Image:
    """Decode to RGB with both sides at least `size` pixels, where the photo is that large.

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


def _engine_name(mode: str, device: str) -> EngineName:
    if mode not in get_args(Mode):
        raise ConfigurationError(f"Unknown mode {mode!r}. Known: {', '.join(get_args(Mode))}.")
    if mode == "openvino" and device != "cpu":
        raise ConfigurationError(
            "Mode 'openvino' runs on the CPU. Choose 'auto', or set LALAFO_DEVICE=cpu."
        )
    if mode == "auto":
        return "openvino" if device == "cpu" else "traced"
    return cast(EngineName, mode)
