"""Rewrites a backbone for inference: norms folded into convolutions, paddings as constants.

Owns both ways: torch.fx for networks of torchvision, and a run that watches the modules for those
of timm, whose control flow torch.fx can't trace. Folding is done in float32, before the cast: on
trained weights this raises the lowest cosine to float32 from 0.9934 (folded by TorchScript, in
bf16) to 0.9992, and eager and traced give the same rows. Importing this module imports torch and
torchvision.
"""

import copy
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ops.models.backbones import Backbone
from ops.models.networks.names import TIMM

# torch.fx (2.15) traces by patching Module.__call__ for the whole process. A model that another
# thread runs at that time fails in the tracer: a session does so while it loads the next release.
_MAX_RUNS = 64
running = threading.BoundedSemaphore(_MAX_RUNS)
"""Every call of a torch model takes one permit."""
_tracing = threading.Lock()
_LOWEST_COSINE = 0.9999

_log = structlog.get_logger(__name__)


def folded(backbone: Backbone, size: int) -> nn.Module:
    """The backbone for inference on inputs of one size; its own modules may have changed.

    Args:
        backbone: with its weights, in float32, on the CPU.
        size: pixels of the square input.
    """
    backbone.eval()
    if not backbone.name.startswith(TIMM):
        with _no_model_running():
            return fuse(backbone)
    unchanged = copy.deepcopy(backbone)
    example = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad(), running:
        expected = backbone(example)
        _fold(backbone, example)
        cosine = F.cosine_similarity(backbone(example), expected).min().item()
    if cosine >= _LOWEST_COSINE:
        return backbone
    # A norm's input has another reader, or a convolution is not called as a module.
    _log.warning("backbone.not_folded", backbone=backbone.name, cosine=cosine)
    return unchanged


class _Padded(nn.Module):
    """A convolution after a constant padding, (left, right, top, bottom)."""

    def __init__(self, convolution: nn.Conv2d, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.convolution = convolution
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.convolution(F.pad(images, self.padding)))


class _Watch:
    """Which convolution's output each norm reads, and the size of each convolution's input."""

    def __init__(self, backbone: nn.Module) -> None:
        self.norm_of: dict[str, str] = {}  # by the convolution's name
        self.input_of: dict[str, tuple[int, int]] = {}
        self.calls: Counter[str] = Counter()
        self._made_by: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its id is
        self._handles = [
            module.register_forward_hook(self._hook(name))
            for name, module in backbone.named_modules()
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
        ]

    def _hook(self, name: str) -> Any:
        def called(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.calls[name] += 1
            if isinstance(module, nn.Conv2d):
                self._made_by[id(output)] = (name, output)
                self.input_of[name] = (int(inputs[0].shape[2]), int(inputs[0].shape[3]))
            elif id(inputs[0]) in self._made_by:
                self.norm_of[self._made_by[id(inputs[0])][0]] = name

        return called

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()


def _fold(backbone: nn.Module, example: Tensor) -> None:
    watch = _Watch(backbone)
    backbone(example)
    watch.end()
    for name, norm_name in watch.norm_of.items():
        convolution, norm = backbone.get_submodule(name), backbone.get_submodule(norm_name)
        once = watch.calls[name] == watch.calls[norm_name] == 1
        if once and isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _fold_norm(convolution, norm)
            _replace(backbone, norm_name, _after(norm))
    for name, shape in watch.input_of.items():
        convolution = backbone.get_submodule(name)
        if type(convolution).__name__ == "Conv2dSame" and watch.calls[name] == 1:
            _replace(backbone, name, _padded(cast(nn.Conv2d, convolution), shape))


def _fold_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _after(norm: nn.BatchNorm2d) -> nn.Module:
    """What timm's norms do after the normalisation: their activation, if they have one."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _padded(convolution: nn.Conv2d, shape: tuple[int, int]) -> nn.Module:
    """TensorFlow's padding "same" for one input size: the odd pixel is at the right and bottom."""
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        cast(tuple[int, int], convolution.kernel_size),
        cast(tuple[int, int], convolution.stride),
        0,
        cast(tuple[int, int], convolution.dilation),
        convolution.groups,
        bias=convolution.bias is not None,
    )
    plain.weight, plain.bias = convolution.weight, convolution.bias
    rows, columns = (
        max(0, (math.ceil(side / stride) - 1) * stride + (kernel - 1) * dilation + 1 - side)
        for side, kernel, stride, dilation in zip(
            shape, plain.kernel_size, plain.stride, plain.dilation, strict=True
        )
    )
    if rows % 2 == columns % 2 == 0:
        plain.padding = (rows // 2, columns // 2)
        return plain
    left, top = columns // 2, rows // 2
    return _Padded(plain, (left, columns - left, top, rows - top))


def _replace(backbone: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(backbone.get_submodule(parent), attribute, module)


@contextmanager
def _no_model_running() -> Iterator[None]:
    """Wait for the running batches; new ones wait until the end of the block."""
    with _tracing, ExitStack() as permits:
        for _ in range(_MAX_RUNS):
            permits.enter_context(running)
        yield
