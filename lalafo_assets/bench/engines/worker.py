"""The processes of `lalafo bench engines`: one prepares the inputs, and one measures each row."""

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from ops.models.engines.engine import Engine, Precision
from ops.models.release import FrozenBackbone
from resources.inference.engines import (
    CONSTANTS_FILE,
    XML_FILE,
    host_facts,
    read_request,
    write_request,
)

PHOTOS = 32
PHOTOS_FILE, EXPECTED_FILE, ONNX_FILE = "photos.npy", "expected.npy", "model.onnx"


def prepare(folder: Path, backbone: str) -> dict[str, Any]:
    """Write the photos, the weights, their converted forms, and the rows of eager float32."""
    from lalafo_assets.bench.harness.photos import bench_photos
    from ops.models.embed import prepare as prepare_photo
    from ops.models.engines.choice import unit_rows
    from ops.models.engines.openvino_engine import convert
    from ops.models.engines.torch_engine import TorchEngine
    from ops.models.processor import supports_bf16

    frozen = _frozen(backbone)
    write_request(frozen, folder)
    drawn = bench_photos(PHOTOS, folder=None)
    photos = [prepare_photo(photo, frozen.preprocessing) for photo in drawn]
    np.save(folder / PHOTOS_FILE, np.stack(photos))
    converted = convert(frozen)
    (folder / XML_FILE).write_bytes(converted.xml)
    (folder / CONSTANTS_FILE).write_bytes(converted.constants)
    left_out = {}
    if all(find_spec(name) is not None for name in ("onnx", "onnxruntime")):
        from lalafo_assets.bench.engines.onnx_engine import export

        export(frozen, folder / ONNX_FILE)
    else:
        left_out["onnxruntime"] = "not installed; the extra `bench` has it"
    reference = TorchEngine(frozen, name="eager", device="cpu", precision="fp32")
    np.save(folder / EXPECTED_FILE, unit_rows(reference, photos))
    facts = host_facts()
    return {
        "backbone": backbone or f"{frozen.name} (starter)",
        "precisions": ["bf16", "fp32"] if supports_bf16("cpu") else ["fp32"],
        "left_out": left_out,
        "processor": facts["processor"],
        "versions": {name: facts[name] for name in ("torch", "openvino")},
    }


def _frozen(backbone: str) -> FrozenBackbone:
    if backbone == "":
        from lalafo_assets.starter import load_starter

        return load_starter().backbone
    import torch

    from lalafo_assets.starter import starter_state
    from ops.models.backbones import Backbone, published
    from resources.training.weights import starting_weights, weights_here

    if weights_here(backbone):
        given = starting_weights("pretrained", backbone, starter=starter_state)
        return FrozenBackbone(backbone, given.state, given.preprocessing)
    torch.manual_seed(0)
    return FrozenBackbone(backbone, Backbone(backbone).state(), published(backbone).preprocessing)


def measure(folder: Path, name: str, precision: Precision, threads: int) -> dict[str, Any]:
    """Load the engine as a session does, and measure it."""
    frozen = read_request(folder)
    started = time.perf_counter()
    import torch

    from ops.models.embed import prepare as _  # noqa: F401 - a session decodes by it

    torch.set_num_threads(threads)
    engine = _loaders(folder, frozen, precision, threads)[name]()
    engine.warm_up()
    load_s = time.perf_counter() - started

    from ops.models.engines.choice import COUNTS, features, ms_per_photo, unit_rows

    photos = list(np.load(folder / PHOTOS_FILE))
    times = ms_per_photo({name: engine}, photos)[name]
    cpu = time.process_time()
    for _round in range(3):
        features(engine, photos)
    cpu_ms = (time.process_time() - cpu) * 1e3 / (3 * len(photos))
    rss_mb = psutil.Process().memory_info().rss / 2**20
    cosine = (unit_rows(engine, photos) * np.load(folder / EXPECTED_FILE)).sum(axis=1).min()
    return {
        "engine": name,
        "precision": precision,
        "threads": threads,
        "ms_per_photo": {str(count): round(times[str(count)], 2) for count in COUNTS},
        "cpu_ms_per_photo": round(cpu_ms, 2),
        "load_s": round(load_s, 2),
        "rss_mb": round(rss_mb),
        "cosine": round(float(cosine), 6),
    }


def _loaders(
    folder: Path, frozen: FrozenBackbone, precision: Precision, threads: int
) -> dict[str, Callable[[], Engine]]:
    """By engine; what an engine needs is imported when it is loaded."""

    def torch_engine(name: Any) -> Engine:
        from ops.models.engines.torch_engine import TorchEngine

        return TorchEngine(frozen, name=name, device="cpu", precision=precision)

    def openvino() -> Engine:
        from ops.models.engines.openvino_engine import ConvertedBackbone, OpenVinoEngine

        files = [(folder / name).read_bytes() for name in (XML_FILE, CONSTANTS_FILE)]
        return OpenVinoEngine(ConvertedBackbone(*files), threads=threads, precision=precision)

    def onnxruntime() -> Engine:
        from lalafo_assets.bench.engines.onnx_engine import OnnxRuntimeEngine

        return cast(Engine, OnnxRuntimeEngine(folder / ONNX_FILE, threads=threads))

    return {
        "eager": lambda: torch_engine("eager"),
        "traced": lambda: torch_engine("traced"),
        "compiled": lambda: torch_engine("compiled"),
        "openvino": openvino,
        "onnxruntime": onnxruntime,
    }


def main(arguments: list[str]) -> None:
    """`prepare FOLDER BACKBONE` or `measure FOLDER ENGINE PRECISION THREADS`."""
    if arguments[0] == "prepare":
        answer = prepare(Path(arguments[1]), arguments[2])
    else:
        folder, name, precision, threads = arguments[1:]
        answer = measure(Path(folder), name, cast(Precision, precision), int(threads))
    print(json.dumps(answer))  # noqa: T201 - the result


if __name__ == "__main__":
    main(sys.argv[1:])
