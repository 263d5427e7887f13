"""Makes networks of masks from files: ONNX, and weights of torchvision's segmentation models."""

from dataclasses import dataclass
from pathlib import Path

from ops.errors import ConfigurationError
from ops.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ops.models.segments.conversion import TORCHVISION, Answers, from_onnx, from_torchvision
from ops.models.segments.head import MaskNetwork
from resources.training.weight_files import as_state, read_weights

ONNX = ".onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What a file does not say. `weights`, `labels`: of torchvision's models; without labels their
    weights' 20 classes of PASCAL VOC. `answers`, `output`, `mean`, `std`: of ONNX files."""

    weights: Path | None = None
    labels: tuple[str, ...] = ()
    answers: Answers = Answers.PROBABILITY
    output: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def mask_network(choice: str, options: NetworkOptions) -> MaskNetwork:
    """The network of an ONNX file, or of a name such as torchvision:lraspp_mobilenet_v3_large.

    Raises:
        ConfigurationError: the file can't be read or is another kind of network, or the weights are
            missing or another network's.
    """
    if not choice.startswith(TORCHVISION):
        path = Path(choice)
        if path.suffix.lower() != ONNX:
            raise ConfigurationError(
                f"{choice} is neither a file that ends with {ONNX} nor a name after {TORCHVISION}"
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{choice} can't be read: {error.strerror}") from error
        return from_onnx(
            data,
            name=path.name,
            answers=options.answers,
            output=options.output,
            mean=options.mean,
            std=options.std,
        )
    if options.weights is None:
        raise ConfigurationError(
            f"{choice} needs its weights: --weights FILE, .safetensors or .pth"
        )
    tensors, _ = read_weights(options.weights)
    return from_torchvision(choice, as_state(tensors), labels=options.labels or voc_labels())


def voc_labels() -> tuple[str, ...]:
    """The classes of torchvision's published segmentation weights, without the background."""
    from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights

    categories: list[str] = LRASPP_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]
    return tuple(categories[1:])
