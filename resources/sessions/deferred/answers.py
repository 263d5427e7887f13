"""Runs the tasks after the ad's path for some stored ads, under all active releases.

Owns which tasks run for which ad. A task that raises fails for the ads, or the photos, that it
raises for, as on the path.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from ops.errors import Reason
from ops.isolation import describe
from ops.outcomes import PhotoAnswer, TaskFailure
from ops.scoring.photo_answers import OnFault
from ops.scoring.predictions import AdInput, run_task
from ops.scoring.ready_release import ReadyRelease
from ops.scoring.switched_off import SwitchedOff
from ops.tasks import Lane, Scope, Task
from ops.types import AdKey, Failure, Prediction
from resources.catalogue.inputs import InputReader, photos_a_chunk
from resources.postgres.database import Database
from resources.sessions.deferred.stored_ads import StoredAd, as_stale, by_key, in_chunks
from resources.storage.photos import PhotoStore

MAX_PHOTOS = 16
"""Photos of a chunk: more of them would only take more memory."""

log = structlog.get_logger()


@dataclass(slots=True)
class Answers:
    """What some ads got. `incomplete`: ads that lack a vector under a release: a re-score has to
    embed their photos. `changed`: ads that have another revision by now."""

    predictions: dict[tuple[AdKey, str], list[Prediction]] = field(default_factory=dict)
    failures: dict[AdKey, list[TaskFailure]] = field(default_factory=dict)
    photos: dict[tuple[bytes, str, str], PhotoAnswer] = field(default_factory=dict)
    incomplete: set[AdKey] = field(default_factory=set)
    changed: set[AdKey] = field(default_factory=set)
    seconds: dict[str, tuple[float, int]] = field(default_factory=dict)  # by task, with photos

    def add_time(self, task: str, seconds: float, photos: int) -> None:
        """Count the time that a task took for so many photos."""
        before = self.seconds.get(task, (0.0, 0))
        self.seconds[task] = before[0] + seconds, before[1] + photos


@dataclass(frozen=True, slots=True)
class TaskRunner:
    """Runs the tasks after the path; the tasks in an order in which they can run."""

    database: Database
    store: PhotoStore
    tasks: Sequence[Task]
    off: SwitchedOff

    def late_tasks(self, release: ReadyRelease) -> list[Task]:
        """The tasks that run after the path under a release."""
        return [it for it in self.tasks if it.lane is Lane.AFTER and it.name in release.heads]

    def run(
        self,
        releases: Sequence[ReadyRelease],
        ads: Sequence[StoredAd],
        *,
        between: Callable[[], object] = lambda: None,
    ) -> Answers:
        """Answer the ads.

        Args:
            between: called before each task of each chunk; what it raises ends the run.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable.
        """
        answers = Answers()
        for release in releases:
            for task in self.late_tasks(release):
                name = task.name
                on = [ad for ad in ads if not self.off(name, ad.queued.key.catalog)]
                for chunk in in_chunks(on, photos_a_chunk(task.inputs, MAX_PHOTOS)):
                    between()
                    started = time.perf_counter()
                    photos = self._run(release, task, chunk, answers)
                    answers.add_time(name, time.perf_counter() - started, photos)
        return answers

    def _run(
        self, release: ReadyRelease, task: Task, ads: Sequence[StoredAd], answers: Answers
    ) -> int:
        """Run one task for some ads; the number of their photos."""
        dimension = release.embedder.dimension if task.inputs.embedding else 0
        stale = as_stale(self.database, ads, release.backbone, dimension)
        known = by_key(ads)
        there = [known[key] for key in stale.keys]
        answers.incomplete |= {ad.queued.key for ad in ads} - {ad.queued.key for ad in there}
        reader = InputReader(self.database, task=task, release=release.name, store=self.store)
        inputs: list[AdInput] = []
        for ad, item in zip(there, reader.read(stale), strict=True):
            key = ad.queued.key
            if isinstance(item, AdInput):
                inputs.append(item)
            elif item is None:
                answers.changed.add(key)
            else:
                failure = Failure(Reason.INTERNAL_ERROR, describe(item))
                self._fail(answers, key, TaskFailure(release.name, task.name, failure))
        if not inputs:
            return 0
        made = [self._answered(answers, item, release.name) for item in inputs]
        results = run_task(task, release.heads[task.name], inputs, made, self._on_fault())
        for item, result in zip(inputs, results, strict=True):
            if isinstance(result, Prediction):
                answers.predictions.setdefault((item.key, release.name), []).append(result)
            elif result is not None:
                self._fail(answers, item.key, TaskFailure(release.name, task.name, result))
            if task.scope is Scope.PHOTO:
                self._add_photos(answers, item, release.name, task.name)
        return sum(len(ad.distinct) for ad in there)

    def _answered(self, answers: Answers, item: AdInput, release: str) -> Mapping[str, Prediction]:
        """The answers that a task can read: the stored ones, and those made before in this run."""
        made = answers.predictions.get((item.key, release), ())
        return {**item.answers, **{it.task: it for it in made}}

    def _add_photos(self, answers: Answers, item: AdInput, release: str, task: str) -> None:
        for photo in item.of_photos:
            result = photo.made.get(task)
            if isinstance(result, Prediction):
                answer = PhotoAnswer(release, photo.sha256, result)
                answers.photos[photo.sha256, release, task] = answer
            elif result is not None:
                failed = TaskFailure(release, task, result, photo.sha256)
                self._fail(answers, item.key, failed)

    def _fail(self, answers: Answers, key: AdKey, failure: TaskFailure) -> None:
        answers.failures.setdefault(key, []).append(failure)

    def _on_fault(self) -> OnFault:
        def on_fault(task: str, error: BaseException) -> None:
            log.error("deferred.task_failed", task=task, error=describe(error))

        return on_fault
