"""A package with two tasks of scope photo, one on the ad's path and one after it.

Both answer how large a photo is, and write each photo that they compute to the file that
`LOG` names. Beside it, files say how they go wrong.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.models.release import Release
from ops.models.release_files import assemble
from ops.models.task_head import TaskHead
from tests.support.live_session import Live
from tests.support.random_release import random_release
from tests.support.task_package import installed, write_package

LOG = "LALAFO_TEST_TASKS_LOG"
REFUSED = 131
"""The width of photos that both tasks fail for."""

_MODULE = '''
import os
import time
from pathlib import Path

from pydantic import Field
from ops.tasks import Answer, Inputs, Lane, Scope, Task

class Size(Answer):
    """How large a photo is."""

    source: tuple[int, int] = Field(description="Of the seller's file.")
    means: dict[str, float] = Field(description="The mean of each colour.")

class Sizes(Answer):
    """How large an ad's photos are."""

    photos: list[tuple[str, int, int]] = Field(description="SHA-256, position and width.")
    failed: int = Field(description="Photos without an answer.")

def predict_photos(photos, head):
    log = Path(os.environ["{log}"])
    if TASK.lane is Lane.AFTER and log.with_name("deadly").exists():
        os._exit(9)
    while TASK.lane is Lane.AFTER and log.with_name("slow").exists():
        time.sleep(0.01)
    with log.open("a") as file:
        for photo in photos:
            height, width, _ = photo.rendition.shape
            file.write(f"{name} {{width}}x{{height}}\\n")
    if any(photo.rendition.shape[1] == {refused} for photo in photos):
        raise ValueError("refused")
    assert all(photo.embedding is None and photo.pixels.shape == (32, 32, 3) for photo in photos)
    return [
        Size(
            label="wide" if photo.rendition.shape[1] > photo.rendition.shape[0] else "tall",
            score=1 / 3,
            source=(photo.source_width, photo.source_height),
            means=dict(zip(("red", "green", "blue"), photo.pixels.mean(axis=(0, 1)).tolist())),
        )
        for photo in photos
    ]

def combine(answers, places):
    found = [(answer, place) for answer, place in zip(answers, places) if answer is not None]
    if not found:
        return None
    return Sizes(
        label=found[0][0].label,
        score=min(answer.score for answer, _ in found),
        photos=[(place.sha256, place.position, answer.source[0]) for answer, place in found],
        failed=len(answers) - len(found),
    )

TASK = Task(
    name="{name}",
    asset_name="photo_{name}",
    description="Sizes.",
    answer=Sizes,
    photo_answer=Size,
    inputs=Inputs(pixels=32, rendition=True),
    predict_photos=predict_photos,
    combine=combine,
    scope=Scope.PHOTO,
    lane=Lane.{lane},
)
'''


class PhotoTasks:
    """The installed package, and what its tasks did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    def computed(self, task: str) -> list[str]:
        """The sizes of the photos that a task has computed, in order."""
        lines = self.log.read_text().split("\n") if self.log.exists() else []
        return [line.split()[1] for line in lines if line.startswith(f"{task} ")]

    @contextmanager
    def going_wrong(self, how: str) -> Iterator[None]:
        """`deadly`: the process ends in the later task; `slow`: that waits for the end of this."""
        (self.folder / how).touch()
        try:
            yield
        finally:
            (self.folder / how).unlink()


@contextmanager
def photo_tasks(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[PhotoTasks]:
    """Install the package for this process and for those that it starts."""
    tasks = PhotoTasks(folder)
    modules = {
        f"task_{name}": _MODULE.format(name=name, lane=lane, log=LOG, refused=REFUSED)
        for name, lane in (("early", "PATH"), ("late", "AFTER"))
    }
    write_package(folder, "photo-sizes", modules, "early = task_early\nlate = task_late")
    patch.setenv(LOG, str(tasks.log))
    patch.setenv("LALAFO_OTHER_VARIABLES", LOG)
    paths = [str(folder), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with installed(folder, *modules):
        yield tasks


def with_photo_tasks(seed: int = 0) -> Release:
    """A release that runs both tasks."""
    plain = random_release(seed)
    heads = {name: TaskHead(name, {}, {}) for name in ("early", "late")}
    return assemble(
        backbone=plain.manifest.backbone,
        weights_source="random",
        preprocessing=plain.manifest.preprocessing,
        backbone_state=plain.backbone_state,
        heads={**plain.heads, **heads},
        metrics={},
    )


def live_name(live: Live) -> str:
    """The name of the live release."""
    ((name,),) = live.rows("SELECT live FROM lalafo.active_releases")
    return str(name)
