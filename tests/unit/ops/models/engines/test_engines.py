"""Engines agree: the same photo gives the same row, whichever computes it and in which batch."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lalafo_assets.starter import load_starter
from lalafo_assets.synthetic.photos import generate
from ops.errors import ConfigurationError
from ops.models.backbones import Backbone
from ops.models.embed import prepare
from ops.models.engines.choice import choose, decide, unit_rows
from ops.models.engines.engine import plan_calls
from ops.models.engines.openvino_engine import BATCH_SIZES as OPENVINO_BATCH_SIZES
from ops.models.engines.openvino_engine import ConvertedBackbone, OpenVinoEngine, convert
from ops.models.engines.torch_engine import BATCH_SIZES, COMPILED_BATCH_SIZES, TorchEngine
from ops.models.processor import supports_bf16
from ops.models.release import FrozenBackbone, Preprocessing

PRECISIONS = ("fp32", "bf16") if supports_bf16("cpu") else ("fp32",)
CONFIGURATIONS = [(name, p) for name in ("eager", "traced", "openvino") for p in PRECISIONS]
AT_32 = Preprocessing(size=32)


@pytest.fixture(scope="module")
def backbone():
    """The starter's trained weights: rounding in random layers says nothing about bf16."""
    return load_starter().backbone


@pytest.fixture(scope="module")
def converted(backbone):
    return convert(backbone)


@pytest.fixture(scope="module")
def photos(backbone):
    return [prepare(photo.data, backbone.preprocessing) for photo in generate(9, 3)]


@pytest.fixture(scope="module")
def expected(backbone, photos):
    """Unit rows by torchvision's network in float32, without any of the project's arithmetic."""
    network = Backbone(backbone.name).eval()
    network.load(backbone.state)
    prep = backbone.preprocessing
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(it).view(1, 3, 1, 1) for it in (prep.mean, prep.std))
    with torch.inference_mode():
        return torch.nn.functional.normalize(network((pixels - mean) / std), dim=1).numpy()


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=lambda it: "-".join(it))
def engine(request, backbone, converted):
    name, precision = request.param
    if name == "openvino":
        return OpenVinoEngine(converted, threads=1, precision=precision)
    return TorchEngine(backbone, name=name, device="cpu", precision=precision)


@pytest.mark.parametrize("batch", [1, 2, 4, 9])
def test_rows_are_those_of_float32_torch(engine, photos, expected, batch):
    """In every batch, with and without bf16: the cosine is above 0.999."""
    parts = [unit_rows(engine, photos[i : i + batch]) for i in range(0, len(photos), batch)]
    rows = np.concatenate(parts)
    assert rows.shape == expected.shape and rows.dtype == np.float32
    assert (rows * expected).sum(axis=1).min() > 0.999
    if engine.precision == "fp32":
        assert np.abs(rows - expected).max() < 1e-4


def test_an_engine_computes_in_the_precision_that_it_names(engine, photos, expected):
    """Float32 is closer to torchvision's network than bf16 can be."""
    error = np.abs(unit_rows(engine, photos) - expected).max()
    assert (error > 1e-4) == (engine.precision == "bf16")


def test_a_batch_that_is_not_full_leaves_no_trace(engine, photos):
    """The rest of a batch has pixels of earlier calls: rows come from the photos alone."""
    size = engine.batch_sizes[-1]
    engine.run(photos[: min(size, 9)], size)
    alone = engine.run(photos[3:4], size)
    assert alone.shape == (1, engine.dimension)
    assert np.abs(alone - engine.run(photos[3:4], 1)).max() < 0.02 * np.abs(alone).max()


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "efficientnet_b0", "timm:tf_efficientnet_lite0", "timm:convnextv2_atto"),
        pytest.param("convnext_tiny", marks=pytest.mark.slow),
    ],
)
def test_every_family_of_backbones_can_be_converted(name):
    """Norms with and without batches, squeeze and excitation, layer norms: equal within 1e-4."""
    torch.manual_seed(0)
    frozen = FrozenBackbone(name, Backbone(name).state(), AT_32)
    images = list(np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8))
    eager = TorchEngine(frozen, name="eager", device="cpu", precision="fp32")
    openvino = OpenVinoEngine(convert(frozen), threads=1, precision="fp32")
    assert openvino.dimension == eager.dimension
    assert np.abs(unit_rows(openvino, images) - unit_rows(eager, images)).max() < 1e-4


def test_a_damaged_conversion_is_an_error(converted):
    """What OpenVINO can't read is named, and ends no process."""
    for damaged in (
        ConvertedBackbone(converted.xml[:1000], converted.constants),
        ConvertedBackbone(converted.xml, converted.constants[:1000]),
    ):
        with pytest.raises(ConfigurationError, match="can't read the converted backbone"):
            OpenVinoEngine(damaged, threads=1, precision="fp32")


@pytest.mark.parametrize("use", ["load", "convert"])
def test_openvino_reports_its_use_to_nobody(converted, tmp_path, use):
    """No connection, from any thread, and no identifier in the home directory."""
    (tmp_path / "model.xml").write_bytes(converted.xml)
    (tmp_path / "model.bin").write_bytes(converted.constants)
    home = tmp_path / "home"
    home.mkdir()
    script = """
import socket, sys, time
from pathlib import Path
from ops.models.engines.openvino_engine import ConvertedBackbone, OpenVinoEngine, convert
attempts = []
def refuse(*arguments, **_):
    attempts.append(arguments)
    raise OSError("refused by the test")
socket.socket.connect = socket.getaddrinfo = refuse
folder = Path(sys.argv[1])
if sys.argv[2] == "load":
    read = [(folder / name).read_bytes() for name in ("model.xml", "model.bin")]
    OpenVinoEngine(ConvertedBackbone(*read), threads=1, precision="fp32").warm_up()
    assert not {"torch", "torchvision"} & set(sys.modules), "a session starts without torchvision"
else:
    from ops.models.backbones import Backbone
    from ops.models.release import FrozenBackbone, Preprocessing
    convert(FrozenBackbone("resnet18", Backbone("resnet18").state(), Preprocessing(size=32)))
time.sleep(0.5)  # for a thread that reports
assert attempts == [], attempts
"""
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), use],
        check=True,
        timeout=100,
        env={**os.environ, "HOME": str(home)},
    )
    assert list(home.iterdir()) == []


def times(traced: float, openvino: float) -> dict[str, dict[str, float]]:
    return {
        name: {str(count): ms for count in (1, 4, 32)}
        for name, ms in (("traced", traced), ("openvino", openvino))
    }


@pytest.mark.parametrize(
    ("traced", "openvino", "cosine", "chosen"),
    [(4.0, 2.0, 0.9995, "openvino"), (2.0, 4.0, 0.9995, "traced"), (4.0, 2.0, 0.9985, "traced")],
)
def test_the_fastest_engine_that_agrees_is_chosen(traced, openvino, cosine, chosen):
    """A faster engine whose rows differ is not; the reason has both figures."""
    choice = decide(times(traced, openvino), {"traced": 0.9999, "openvino": cosine}, "fp32")
    assert choice.engine == chosen
    assert f"traced {traced:.1f}" in choice.reason or chosen == "traced"
    assert choice.reason.startswith(
        f"{chosen} fp32: {min(times(traced, openvino)[chosen].values()):.1f} ms"
    )


@pytest.mark.parametrize(
    ("traced", "openvino", "chosen"),
    [(0.9981, 0.9982, "openvino"), (0.9981, 0.9970, "traced"), (0.9950, 0.9945, "traced")],
)
def test_where_bf16_itself_is_further_off_traced_is_the_measure(traced, openvino, chosen):
    """A network's rows in bf16 may be below 0.999 by every engine; below 0.995 none agrees."""
    choice = decide(times(4.0, 2.0), {"traced": traced, "openvino": openvino}, "bf16")
    assert choice.engine == chosen


def test_choosing_measures_both_engines():
    """The choice has a time for each number of photos, and a cosine, of each engine."""
    torch.manual_seed(0)
    frozen = FrozenBackbone("resnet18", Backbone("resnet18").state(), AT_32)
    choice, converted = choose(frozen, threads=1, precision="fp32")
    assert choice.engine in ("traced", "openvino")
    assert set(choice.ms_per_photo) == set(choice.cosine) == {"traced", "openvino"}
    for by_count in choice.ms_per_photo.values():
        assert set(by_count) == {"1", "4", "32"} and min(by_count.values()) > 0
    assert min(choice.cosine.values()) > 0.9999
    assert OpenVinoEngine(converted, threads=1, precision="fp32").dimension == 512


@pytest.mark.parametrize(
    ("sizes", "cost"),
    [(BATCH_SIZES, 2.0), (COMPILED_BATCH_SIZES, 2.0), (OPENVINO_BATCH_SIZES, 0.25)],
)
def test_a_plan_holds_every_photo_with_known_sizes_only(sizes, cost):
    """No count needs a shape that was not warmed up, and padding stays below one size."""
    for count in range(100):
        calls = plan_calls(count, sizes, cost)
        assert set(calls) <= set(sizes)
        assert count <= sum(calls) < count + max(calls, default=1)
        assert list(calls) == sorted(calls, reverse=True)


def test_a_cheap_call_is_padded_by_one_photo_at_most():
    """Where a call costs a quarter of a photo, as with OpenVINO, more padding never pays."""
    padding = {
        count: sum(plan_calls(count, OPENVINO_BATCH_SIZES, 0.25)) - count for count in range(100)
    }
    assert {count for count, photos in padding.items() if photos > 0} <= {15, 31, 47, 63, 79, 95}
    assert max(padding.values()) <= 1
