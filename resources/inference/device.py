"""Chooses the device that models run on, and describes it.

CUDA is never replaced by the CPU if it was requested explicitly. Importing this module does not
import torch; calling its functions does.
"""

import os
import platform
from dataclasses import dataclass

from ops.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The properties that `lalafo doctor` prints.

    `bf16`: supported by the hardware of `device`. `cpp_compiler`: the compiler that torch.compile
    would call; None: there is none, and models run traced.
    """

    device: str
    name: str
    threads: int
    cores: int
    bf16: bool
    cpp_compiler: str | None
    torch: str


def choose_device(setting: str) -> str:
    """ "cpu" or "cuda" for a setting of "auto", "cpu" or "cuda".

    Raises:
        ConfigurationError: any other value, or "cuda" if torch has no CUDA device.
    """
    if setting not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(f"LALAFO_DEVICE={setting!r}: expected auto, cpu or cuda.")
    if setting == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if setting == "cuda":
        built = torch.version.cuda
        why = "this torch is built without CUDA" if built is None else "torch finds no CUDA device"
        raise ConfigurationError(
            f"LALAFO_DEVICE=cuda, but {why}. Repair the driver or the torch installation, or set "
            "LALAFO_DEVICE to cpu or auto."
        )
    return "cpu"


def describe_device(setting: str = "auto") -> DeviceFacts:
    """The properties of the device for a setting; raises as `choose_device` does."""
    device = choose_device(setting)
    import torch

    from ops.models.processor import cpp_compiler, supports_bf16

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
