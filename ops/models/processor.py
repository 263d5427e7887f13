"""What the processor and the machine's tools can do for a model. Importing this imports torch."""

import os
import platform
import shutil

import torch


def supports_bf16(device: str) -> bool:
    """Whether the hardware computes bfloat16; emulated, it would be slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine() in ("x86_64", "AMD64"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return True


def cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile would call, or None."""
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        if name != "" and shutil.which(name) is not None:
            return name
    return None
