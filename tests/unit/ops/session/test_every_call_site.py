"""An exception at every call site of a session's stages, in turn: no ad is lost beside it.

The sites are found in the sources: every call in the stages and in what they call for an item. Each
raises an exception whenever it is reached with the poisoned ad in its arguments or its frame, first
once and then always. A session that ends with the exception is followed by another, as the sensor
does, and what it died of is counted as PostgreSQL counts it.
"""

import gc
import importlib
from collections.abc import Iterator, Mapping
from types import FrameType

import pytest

from ops.errors import Reason
from ops.isolation import is_crash
from ops.outcomes import Batch, CommitResult, DeadLetter, Receipt
from ops.session.admission import SettledWork
from ops.session.state import FailedWork
from ops.session.tally import Tally
from ops.types import AdEvent, AdKey, PhotoRef, StreamRecord
from tests.support.fault_injection import CallSites
from tests.support.session_world import World

# An exception where a task is created leaves the task's coroutine behind.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

MODULES = (
    *("stages.intake", "stages.photos", "stages.model", "stages.commit"),
    *("admission", "state", "tally", "careful"),
)
BENEATH = (
    *("ops.scoring.ads", "ops.scoring.records", "ops.scoring.predictions", "ops.events.parse"),
    "ops.tasks.category",
)
POISON = "poisoned-ad-7f3a"  # in no name of a test or file: pytest holds those in its frames
EVENTS = 6
MOST_SESSIONS = 8


@pytest.fixture(scope="module")
def sites() -> Iterator[CallSites]:
    modules = [importlib.import_module(f"ops.session.{name}") for name in MODULES]
    modules += [importlib.import_module(name) for name in BENEATH]
    found = CallSites(
        modules,
        POISON,
        items=(StreamRecord, AdEvent, AdKey, PhotoRef, Receipt),
        harmless=(DeadLetter, FailedWork, SettledWork),
    )
    with found.installed():
        yield found


def is_polling(frame: FrameType | None) -> bool:
    """Whether records are only handed over: what always fails there is the client, or the topic.

    The session then ends with the exception, each time.
    """
    return frame is not None and (
        frame.f_code.co_name in ("_poll", "_set_aside", "<setcomp>", "claims")
        or frame.f_locals.get("what") == "kafka"
    )


def is_work(site: str) -> bool:
    """Whether a call site belongs to the work on items: parsing, loading, scoring, writing."""
    beneath = site.startswith(BENEATH) and not site.endswith(" tuple")  # of `AdScorer.names`
    return beneath or site.endswith((".load", ".score", ".read", ".ready_for", ".commit", "_batch"))


def is_counting(site: str) -> bool:
    """Whether a call site is between a commit and its count, where a fault shows in the counts."""
    function = site.split()[1].rstrip(":")
    between = site.endswith(("._begin", "._conclude"))
    return between or function in ("finish", "_end", "_conclude", "count", "add", "over", "events")


class LeavingWorld(World):
    """Its sessions leave once everything is committed."""

    sessions = 0

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        result = super().commit(batch, epochs)
        if self.offsets == {0: EVENTS}:
            self.membership.leave()
        return result


def topic() -> LeavingWorld:
    """A poisoned ad with one photo of its own, between good ads and a record that is no event."""
    world = LeavingWorld()
    world.publish("a", "dark-1")
    world.publish("b", "bright-1", "dark-2")
    world.publish(POISON, "dark-1", f"dark-{POISON}")
    world.publish("c")
    world.publish_bytes(b"nonsense")
    world.publish("d", "dark-1", "bad-1")
    return world


def run_to_the_end(world: "LeavingWorld") -> list[Tally]:
    """Run sessions until all offsets are committed; the counts of those that ended well."""
    tallies = []
    for _ in range(MOST_SESSIONS):
        world.renew()
        world.sessions += 1
        world.membership.grant(0)
        session = world.session()
        try:
            session.run()
        except Exception as error:  # noqa: BLE001 - whatever was injected
            if is_crash(error):
                world.quarantine.died()
        else:
            tallies.append(session.state.total)
        if world.offsets == {0: EVENTS}:
            return tallies
    raise AssertionError(f"offsets {world.offsets} after {MOST_SESSIONS} sessions")


def check(world: World, tallies: list[Tally], site: str) -> None:
    """No other ad is lost, and the poisoned one is scored or has its failure."""
    assert world.committed("a", "b", "c", "d")
    assert {ad: labels for ad, labels in world.labels().items() if ad != POISON} == {
        "a": {"r1": "dark"},
        "b": {"r1": world.labels()["b"]["r1"]},
        "c": {},
        "d": {"r1": "dark"},
    }
    assert is_counting(site) or all(tally.unaccounted == 0 for tally in tallies)
    assert all(count == 1 for key, count in world.written.items() if key.ad_id != POISON)
    letters = [letter for batch in world.commits for letter in batch.dead_letters]
    refused = {x.record.offset for x in letters if x.failure.reason is Reason.EVENT_NOT_JSON}
    assert refused == {4}
    reasons = [x.failure.reason for x in letters if x.record.offset == 2]
    reasons += [
        photo.failure.reason
        for key, ad in world.ads.items()
        if key.ad_id == POISON
        for photo in ad.photos
        if photo.failure is not None
    ]
    reasons += [
        failed.failure.reason
        for key, ad in world.ads.items()
        if key.ad_id == POISON
        for failed in ad.task_failures
    ]
    assert set(reasons) <= {Reason.INTERNAL_ERROR, Reason.QUARANTINED}
    assert reasons != [] or world.labels()[POISON] == {"r1": "dark"}, "it has no outcome"


def test_the_sweep_reaches_the_stages(sites: CallSites) -> None:
    """Undisturbed, the poisoned ad passes through many call sites of every module."""
    sites.arm(None)
    world = topic()
    (tally,) = run_to_the_end(world)
    assert (tally.admitted, tally.unaccounted) == (EVENTS, 0)
    assert world.committed("a", "b", "c", "d", POISON)
    reached = [sites.names[site] for site in sites.reached]
    for module in sites.modules:
        assert any(name.startswith(f"{module.__name__}:") for name in reached) or (
            module.__name__.endswith("careful")
        ), module.__name__
    assert len(reached) > 150


@pytest.mark.parametrize("times", [1, float("inf")], ids=["once", "always"])
def test_an_exception_at_any_call_site_loses_no_ad(sites: CallSites, times: float) -> None:
    """In = out + failed, whichever call raised; one that raises once fails at most its own ad."""
    problems, restarts = [], []
    for site in sorted(sites.reached):
        sites.arm(site, times, is_polling if times > 1 else lambda _: False)
        world = topic()
        try:
            tallies = run_to_the_end(world)
            sites.arm(None)
            check(world, tallies, sites.names[site])
            if world.sessions > 1:
                restarts.append(sites.names[site])
        except AssertionError as error:
            problems.append(f"{sites.names[site]}: {error}")
    gc.collect()  # coroutines that were left behind, while their warnings are ignored
    assert not problems, "\n".join(problems)
    # What the stages call for an item costs no session, only what keeps account of the items does.
    assert not [name for name in restarts if is_work(name)]
