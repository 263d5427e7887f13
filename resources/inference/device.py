"""Which device models run on, and what this machine offers them.

Decides that CUDA is never replaced by the CPU where it was asked for. Importing this module does
not import torch; calling its functions does.
"""

import os
import platform
from dataclasses import dataclass

from ops.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What `lalafo doctor` prints. `bf16`: computed by the hardware of `device`. `cpp_compiler`:
    what torch.compile would call, or None: then models run traced."""

    device: str
    name: str
    threads: int
    cores: int
    bf16: bool
    cpp_compiler: str | None
    torch: str


def choose_device(wanted: str) -> str:
    """ "cpu" or "cuda" for a setting of "auto", "cpu" or "cuda".

    Raises:
        ConfigurationError: another word, or "cuda" where torch sees no CUDA device.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(f"LALAFO_DEVICE={wanted!r}: want auto, cpu or cuda.")
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        built = torch.version.cuda
        why = "this torch is built without CUDA" if built is None else "torch sees no CUDA device"
        raise ConfigurationError(
            f"LALAFO_DEVICE=cuda, but {why}. Mend the driver, or set LALAFO_DEVICE to cpu or auto."
        )
    return "cpu"


def describe_device(wanted: str = "auto") -> DeviceFacts:
    """The facts of the device that `wanted` leads to; raises as `choose_device` does."""
    device = choose_device(wanted)
    import torch

    from ops.models.backbones import cpp_compiler, supports_bf16

    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = platform.processor() or platform.machine()
    return DeviceFacts(
        device=device,
        name=name,
        threads=torch.get_num_threads(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        bf16=supports_bf16(device),
        cpp_compiler=cpp_compiler(),
        torch=torch.__version__,
    )
