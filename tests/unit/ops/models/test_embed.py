"""Embedding: from a rendition's bytes to a unit vector, independent of the batch."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from ops.errors import BadInputError, ConfigurationError
from ops.models.backbones import Backbone, known_backbones
from ops.models.embed import Embedder, prepare
from ops.models.processor import cpp_compiler
from ops.models.release import Head, Preprocessing
from ops.models.release_files import assemble
from ops.photos.rendition import make_rendition

SMALL = Preprocessing(size=64)


def a_photo(width, height, seed=0):
    """A smooth photo with an edge, so that errors of scale and orientation are visible."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 5, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    pixels = pixels.copy()
    pixels[: height // 4, : width // 3] = (250, 20, 20)
    return pixels


def jpeg(pixels, quality=92):
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality)


def a_release(name="mobilenet_v3_small", preprocessing=SMALL):
    """Random weights with norms computed from photos, so that different photos differ."""
    torch.manual_seed(0)
    backbone = Backbone(name).train()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    photos = np.stack([a_photo(64, 64, seed) for seed in range(16)])
    with torch.no_grad():
        backbone(torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 128 - 1)
    zeros = np.zeros((2, backbone.dimension), np.float32)
    return assemble(
        backbone=name,
        weights_source="random",
        preprocessing=preprocessing,
        backbone_state=backbone.state(),
        heads={"category": Head("category", ("a", "b"), zeros, zeros[:, 0].copy())},
        metrics={},
    )


@pytest.fixture(scope="module")
def release():
    return a_release()


@pytest.fixture(scope="module")
def photos():
    return [a_photo(64, 64, seed) for seed in range(37)]


@pytest.fixture(scope="module", params=["eager", "traced", "openvino"])
def embedder(request, release):
    return Embedder(release.backbone, device="cpu", threads=1, mode=request.param)


@pytest.mark.parametrize(
    "size", [(400, 533), (640, 480), (640, 131), (50, 40), (224, 224), (1, 1), (449, 640)]
)
def test_prepare_squashes_the_whole_photo(size):
    """The result is close to Pillow's bilinear resize of the fully decoded photo."""
    data = jpeg(a_photo(*size))
    prepared = prepare(data, Preprocessing())
    assert prepared.shape == (224, 224, 3)
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    full = Image.fromarray(simplejpeg.decode_jpeg(data))
    expected = np.asarray(full.resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(prepared.astype(int) - expected).mean() < 2.0


@pytest.mark.parametrize("size", [(400, 533), (640, 480), (449, 640), (240, 300), (50, 40)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_prepare_crops_as_timm_does(size, interpolation):
    """The result is close to timm's own transform, by Pillow, of the fully decoded photo."""
    from timm.data.transforms_factory import create_transform

    data = jpeg(a_photo(*size))
    preprocessing = Preprocessing(resize="center", crop_pct=0.875, interpolation=interpolation)
    prepared = prepare(data, preprocessing)
    transform = create_transform(
        input_size=(3, 224, 224),
        crop_pct=0.875,
        crop_mode="center",
        interpolation=interpolation,
        normalize=False,
    )
    full = Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
    expected = transform(full).permute(1, 2, 0).numpy().astype(int)
    assert prepared.shape == expected.shape == (224, 224, 3)
    assert np.abs(prepared.astype(int) - expected).mean() < 2.0


@pytest.mark.parametrize("size", [(640, 1), (1, 640), (1, 1), (640, 131), (2, 3)])
def test_prepare_crops_a_strip_from_its_middle(size):
    """A strip is not resized as a whole: that would be 163,840 pixels long."""
    data = jpeg(a_photo(*size))
    prepared = prepare(data, Preprocessing(resize="center", crop_pct=0.875))
    assert prepared.shape == (224, 224, 3)
    middle = simplejpeg.decode_jpeg(data, "RGB")[size[1] // 2, size[0] // 2].astype(int)
    assert np.abs(prepared[112, 112].astype(int) - middle).max() < 40


def test_prepare_is_the_same_each_time():
    """Equal bytes give equal pixels: the stream and backfills get the same."""
    data = jpeg(a_photo(400, 533))
    first, again = prepare(data, Preprocessing()), prepare(data, Preprocessing())
    assert np.array_equal(first, again)


def test_prepare_reads_grey_photos_as_rgb():
    """A grey JPEG gives three equal channels."""
    grey = simplejpeg.encode_jpeg(a_photo(80, 80)[:, :, :1].copy(), colorspace="GRAY")
    prepared = prepare(grey, SMALL)
    assert prepared.shape == (64, 64, 3)
    assert np.array_equal(prepared[:, :, 0], prepared[:, :, 2])


@pytest.mark.parametrize("harm", ["empty", "text", "cut"])
def test_broken_rendition_is_bad_input(harm):
    """A damaged rendition is a failure with its reason, not a crash of the batch."""
    data = jpeg(a_photo(400, 533))
    broken = {"empty": b"", "text": b"<html>", "cut": data[: len(data) // 2]}[harm]
    with pytest.raises(BadInputError, match="photo_broken"):
        prepare(broken, Preprocessing())


def test_rows_are_unit_and_ordered(embedder, photos):
    """Each row is that of its photo, with length 1 after rounding to float16."""
    rows = embedder.embed(photos)
    assert rows.shape == (37, 576)
    assert rows.dtype == np.float16
    assert np.abs(np.linalg.norm(rows.astype(np.float32), axis=1) - 1).max() < 1e-3
    turned = embedder.embed(photos[::-1])[::-1]
    assert np.abs(rows.astype(np.float32) - turned).max() < 1e-3
    distinct = rows.astype(np.float32) @ rows.astype(np.float32).T
    assert (distinct - np.eye(37)).max() < 0.9999  # different photos have different rows


def test_a_photos_row_does_not_depend_on_its_batch(embedder, photos):
    """Alone, in small batches or in one of 37: within 1e-3 in every component and in cosine."""
    together = embedder.embed(photos).astype(np.float32)
    for size in (1, 3, 16):
        parts = [embedder.embed(photos[i : i + size]) for i in range(0, 37, size)]
        rows = np.concatenate(parts).astype(np.float32)
        assert np.abs(rows - together).max() < 1e-3
        assert (rows * together).sum(axis=1).min() > 1 - 1e-3


def test_no_photos_give_no_rows(embedder):
    """An empty batch gives (0, D)."""
    assert embedder.embed([]).shape == (0, 576)


@pytest.fixture(scope="module")
def plain(release, photos):
    """The photos' unit rows by torchvision's network in float32, without any of the project's."""
    backbone = Backbone("mobilenet_v3_small").eval()
    backbone.load(release.backbone_state)
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(SMALL.mean).view(1, 3, 1, 1)
    std = torch.tensor(SMALL.std).view(1, 3, 1, 1)
    with torch.inference_mode():
        return torch.nn.functional.normalize(backbone((pixels - mean) / std), dim=1).numpy()


def test_modes_and_precision_agree(release, photos, plain):
    """Traced and eager give the same rows, close to those of float32 torch."""
    eager = Embedder(release.backbone, device="cpu", threads=1, mode="eager").embed(photos)
    traced = Embedder(release.backbone, device="cpu", threads=1, mode="traced").embed(photos)
    assert (eager.astype(np.float32) * plain).sum(axis=1).mean() > 0.98  # bf16 in random layers
    assert (eager.astype(np.float32) * traced).sum(axis=1).min() > 0.999


def test_embedder_has_its_mode_and_precision(embedder, release):
    """Both are attributes, since results of different ones agree only within rounding."""
    assert embedder.mode in ("eager", "traced", "openvino")
    assert embedder.precision in ("bf16", "fp32")
    assert embedder.dimension == 576
    embedder.warm_up()


def test_a_mode_that_is_not_available_is_an_error(release, monkeypatch):
    """`compiled` without a C++ compiler, OpenVINO on a GPU, and an unknown name."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigurationError, match=r"C\+\+ compiler"):
        Embedder(release.backbone, device="cpu", threads=1, mode="compiled")
    with pytest.raises(ConfigurationError, match="runs on the CPU"):
        Embedder(release.backbone, device="cuda", threads=1, mode="openvino")
    with pytest.raises(ConfigurationError, match="Unknown mode"):
        Embedder(release.backbone, device="cpu", threads=1, mode="fast")


@pytest.mark.slow
@pytest.mark.skipif(cpp_compiler() is None, reason="no C++ compiler for torch.compile")
def test_compiled_agrees_with_eager(photos):
    """torch.compile changes the speed, not the rows."""
    release = a_release("resnet18", Preprocessing(size=32))
    small = [photo[::2, ::2].copy() for photo in photos[:3]]
    compiled = Embedder(release.backbone, device="cpu", threads=1, mode="compiled")
    compiled.engine.batch_sizes = (4,)  # one program: each costs seconds
    eager = Embedder(release.backbone, device="cpu", threads=1, mode="eager").embed(small)
    rows = compiled.embed(small).astype(np.float32)
    assert (rows * eager).sum(axis=1).min() > 0.995


def test_a_model_can_be_used_while_another_is_loaded(release, photos):
    """A session loads the next release while it scores: no row is lost, none is different."""
    working = Embedder(release.backbone, device="cpu", threads=1, mode="eager")
    expected = working.embed(photos)
    loaded = threading.Event()

    def work():
        rounds = 0
        while not loaded.is_set() or rounds == 0:
            assert np.array_equal(working.embed(photos), expected)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(work)
        try:
            for _ in range(3):
                Embedder(release.backbone, device="cpu", threads=1, mode="eager")
        finally:
            loaded.set()
        assert job.result(60) > 0


def test_embedding_many_batches_leaks_no_memory(embedder, photos):
    """After two hundred batches the process is not noticeably larger."""
    import psutil

    process = psutil.Process()
    for _ in range(20):
        embedder.embed(photos[:8])
    before = process.memory_info().rss
    for _ in range(200):
        embedder.embed(photos[:8])
    assert process.memory_info().rss - before < 30 * 2**20


def test_an_unknown_backbone_is_an_error_with_the_known_ones():
    """The message has similar names."""
    assert {"mobilenet_v3_small", "resnet50", "efficientnet_b0"} <= set(known_backbones())
    with pytest.raises(ConfigurationError, match="resnet18"):
        Backbone("resnet19")


@pytest.mark.parametrize(
    ("name", "dimension"),
    [("resnet18", 512), ("efficientnet_b0", 1280), ("regnet_y_400mf", 440), ("convnext_tiny", 768)],
)
def test_backbones_end_before_their_head(name, dimension):
    """Without its head, each network gives pooled features of the known length."""
    backbone = Backbone(name).eval()
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, dimension)
    assert backbone.dimension == dimension


def test_torchvisions_own_state_loads_without_its_head():
    """Published checkpoints have a head, and old ones lack a counter; both can be loaded."""
    import torchvision

    full = torchvision.models.resnet18(weights=None).state_dict()
    state = {k: v.numpy() for k, v in full.items() if not k.endswith("num_batches_tracked")}
    backbone = Backbone("resnet18")
    backbone.load(state)
    assert np.array_equal(backbone.state()["conv1.weight"], state["conv1.weight"])
    assert not any(k.startswith("fc.") for k in backbone.state())


def test_weights_of_another_network_are_an_error(release):
    """The message names weights that are missing, unknown or of another shape."""
    state = dict(release.backbone_state)
    name = "features.0.0.weight"
    for wrong in (
        {k: v for k, v in state.items() if k != name},
        {**state, "extra.weight": state[name]},
        {**state, name: state[name][:, :1]},
    ):
        with pytest.raises(ConfigurationError, match="not mobilenet_v3_small's"):
            Backbone("mobilenet_v3_small").load(wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["eager", "traced"])
def test_cuda_agrees_with_the_cpu(release, photos, mode):
    """The same photos on a GPU give the same rows within rounding, in 600 MB."""
    cpu = Embedder(release.backbone, device="cpu", threads=1, mode="eager").embed(photos)
    cuda = Embedder(release.backbone, device="cuda", threads=1, mode=mode)
    cuda.warm_up()
    assert (cuda.embed(photos).astype(np.float32) * cpu).sum(axis=1).min() > 0.995
    assert torch.cuda.memory_reserved() < 600e6


def test_a_rendition_that_is_decoded_at_once_needs_no_verification() -> None:
    """For any damage, an unverified rendition decodes exactly where verification succeeds."""
    rng = random.Random(0)
    whole = [jpeg(a_photo(width, height)) for width, height in ((64, 48), (400, 533))]
    for number in range(200):
        damaged = bytearray(whole[number % 2])
        if number % 3 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        assert decodes(bytes(damaged), verify=False) == decodes(bytes(damaged), verify=True), number


def decodes(data: bytes, *, verify: bool) -> bytes | None:
    try:
        rendition = make_rendition(data, max_pixels=10_000_000, verify=verify)
        prepare(rendition.data, Preprocessing())
    except BadInputError:
        # A JPEG that only the strict decoder rejects is encoded again after verification.
        return decodes(data, verify=True) if not verify else None
    return rendition.sha256
