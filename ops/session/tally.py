"""Counters and latencies of a session's committed batches.

Every event is counted once as written, unchanged or a dead letter. Admission counts the same events
on their way in: `Tally.unaccounted` is the difference, zero unless there is a bug.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from ops.outcomes import Batch, CommitResult

MOST_LABELS, OTHER_LABELS = 1_000, "…"
"""Labels counted by name in each task: those of a task may be as many as the ads."""


@dataclass(slots=True)
class Tally:
    """Counts over all batches that were added."""

    admitted: int = 0  # by admission's own count, of the events that are over
    events: int = 0  # records of the batches
    written: int = 0  # ads whose revision was the highest
    unchanged: int = 0  # events that a higher or equal revision made stale
    no_events: int = 0  # offsets that hold no event
    dead_letters: Counter[str] = field(default_factory=Counter)  # by reason
    statuses: Counter[str] = field(default_factory=Counter)  # of the ads written
    photos: int = 0
    photo_failures: Counter[str] = field(default_factory=Counter)  # by reason
    embedded: int = 0
    labels: dict[str, Counter[str]] = field(default_factory=dict)  # by task, of the live release
    predictions: int = 0
    untrusted_timestamps: int = 0
    batches: int = 0
    releases: set[str] = field(default_factory=set)  # the releases that scored the batches
    days: Counter[date] = field(default_factory=Counter)  # ads written, by their day
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)  # (first, next) by partition
    # Kafka timestamp to committed row, of the ads that did not wait for the session's start
    latencies_ms: list[float] = field(default_factory=list)
    waited_for_session: int = 0  # ads that did

    def add(self, batch: Batch, result: CommitResult) -> None:
        """Count one committed batch."""
        written = [ad for ad in batch.ads if ad.event.key in result.accepted]
        self.batches += 1
        self.releases.update(batch.releases)
        self.events += batch.events
        self.written += len(written)
        self.unchanged += batch.superseded + len(batch.ads) - len(written)
        self.no_events += batch.no_events
        self.dead_letters.update(letter.failure.reason.value for letter in batch.dead_letters)
        self.embedded += len(batch.embeddings)
        self.days.update(result.accepted.values())
        for ad in written:
            self.statuses[ad.status.value] += 1
            self.photos += len(ad.photos)
            self.photo_failures.update(
                photo.failure.reason.value for photo in ad.photos if photo.failure is not None
            )
            self.untrusted_timestamps += not ad.receipt.timestamp_trusted
            waited = result.committed_at - ad.receipt.kafka_at
            if ad.receipt.waited_for_session:
                self.waited_for_session += 1
            else:
                self.latencies_ms.append(waited.total_seconds() * 1e3)
            live = ad.predictions.get(batch.releases[0], ()) if batch.releases else ()
            self.predictions += len(live)
            for item in live:
                self._count_label(item.task, item.label)
        for receipt in batch.receipts:
            offset = receipt.offset
            first, following = self.offsets.get(receipt.partition, (offset, offset))
            self.offsets[receipt.partition] = (min(first, offset), max(following, offset + 1))

    def _count_label(self, task: str, label: str, count: int = 1) -> None:
        counts = self.labels.setdefault(task, Counter())
        if label not in counts and len(counts) >= MOST_LABELS:
            label = OTHER_LABELS
        counts[label] += count

    def merge(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        for name in ("admitted", "events", "written", "unchanged", "no_events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.photos += other.photos
        self.embedded += other.embedded
        self.untrusted_timestamps += other.untrusted_timestamps
        self.waited_for_session += other.waited_for_session
        self.batches += other.batches
        self.predictions += other.predictions
        for task, counts in other.labels.items():
            for label, count in counts.items():
                self._count_label(task, label, count)
        for name in ("dead_letters", "statuses", "photo_failures", "days"):
            getattr(self, name).update(getattr(other, name))
        self.releases |= other.releases
        self.latencies_ms.extend(other.latencies_ms)
        for partition, (first, following) in other.offsets.items():
            earliest, latest = self.offsets.get(partition, (first, following))
            self.offsets[partition] = (min(earliest, first), max(latest, following))

    @property
    def photos_failed(self) -> int:
        return sum(self.photo_failures.values())

    @property
    def unaccounted(self) -> int:
        """Admitted events without an outcome; negative where one has two. In = out + failed."""
        accounted = self.written + self.unchanged + sum(self.dead_letters.values())
        return self.admitted - accounted - self.no_events

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile (0 to 100) of the latencies, ms; None where no ad was written."""
        if not self.latencies_ms:
            return None
        return float(np.percentile(self.latencies_ms, percentile))
