"""Creates pictures of a training set and of a release that was trained on it.

Owns which photos and labels are shown; `ops/pictures/previews.py` draws them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ops.pictures.previews import bars, confusion_matrix, contact_sheet, curve, scores
from ops.tasks import HEADLINE_TASK
from ops.training.dataset import Example, TrainingSet
from ops.training.make_release import JudgedTask
from resources.catalogue.pictures import MATRIX_LABELS, SAMPLES, Pictures
from resources.catalogue.summaries import readable
from resources.storage.photos import PhotoStore
from resources.training.train import Trained


def set_pictures(content: TrainingSet, store: PhotoStore) -> Pictures:
    """Photos by label, and samples of each label; names of further tasks have a suffix."""
    pictures: Pictures = {}
    for task in content.tasks:
        examples = [e for e in content.examples if e.photo.task == task]
        counts = Counter(e.photo.label for e in examples)
        pictures[_named("labels", task)] = bars(counts, title=f"Photos by label: {task}")
        chosen = [(e.photo.rendition_sha256, _caption(e)) for e in _samples_of_each(examples)]
        pictures[_named("contact_sheet", task)] = contact_sheet(readable(store, chosen))
    return pictures


def release_pictures(trained: Trained, store: PhotoStore) -> Pictures:
    """A release's results on the held-out photos: errors, scores, and the training curve."""
    pictures: Pictures = {}
    for task, judged in trained.made.tasks.items():
        pictures[_named("confusion_matrix", task)] = _matrix(judged)
        pictures[_named("scores", task)] = scores(
            **judged.held_out["histogram"], title="Scores of held-out photos"
        )
        wrong = _worst(judged, trained.judged[task])
        pictures[_named("worst_mistakes", task)] = contact_sheet(readable(store, wrong))
    if trained.made.losses:
        pictures["training_curve"] = curve(
            trained.made.losses, title="Fine-tuning the backbone", y_label="loss"
        )
    return pictures


def _named(picture: str, task: str) -> str:
    return picture if task == HEADLINE_TASK else f"{picture}_{task}"


def _samples_of_each(examples: Sequence[Example]) -> list[Example]:
    """A photo of each label in turn, up to SAMPLES photos."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.photo.sha256):
        by_label[example.photo.label].append(example)
    rounds = max(map(len, by_label.values()), default=0)
    turns: Iterator[Example] = (
        of_label[number]
        for number in range(rounds)
        for _, of_label in sorted(by_label.items())
        if number < len(of_label)
    )
    return [example for example, _ in zip(turns, range(SAMPLES), strict=False)]


def _caption(example: Example) -> str:
    by = "person" if example.photo.source == "person" else "seller"
    part = "held out" if example.part == "held_out" else "train"
    return f"{example.photo.label}\n{by}, {part}"


def _worst(judged: JudgedTask, examples: Sequence[Example]) -> list[tuple[bytes, str]]:
    """(rendition's SHA-256, caption) of the mistakes with the highest scores."""
    labels = judged.head.labels
    predicted = judged.probabilities.argmax(axis=1)
    scores_of = judged.probabilities.max(axis=1)
    wrong = [i for i, e in enumerate(examples) if labels[predicted[i]] != e.photo.label]
    wrong.sort(key=lambda i: (-float(scores_of[i]), examples[i].photo.sha256))
    return [
        (
            examples[i].photo.rendition_sha256,
            f"{'seller' if examples[i].photo.source == 'seller' else 'person'}: "
            f"{examples[i].photo.label}\npredicted: {labels[predicted[i]]}\n"
            f"score {scores_of[i]:.0%}",
        )
        for i in wrong[:SAMPLES]
    ]


def _matrix(judged: JudgedTask) -> bytes:
    """The confusion matrix of the most frequent labels."""
    matrix = np.array(judged.held_out["confusion"], np.int64)
    totals = matrix.sum(axis=0) + matrix.sum(axis=1)
    most = sorted(np.argsort(-totals, kind="stable")[:MATRIX_LABELS].tolist())
    return confusion_matrix(
        matrix[np.ix_(most, most)],
        [judged.head.labels[i] for i in most],
        title=f"{judged.held_out['count']} held-out photos: label (rows), predicted (columns)",
    )
