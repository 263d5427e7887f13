"""A fault of one ad, photo or record is its own failure; one that hits all ends the session."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ops.errors import (
    BadInputError,
    CircuitOpenError,
    ConfigurationError,
    PhotosGoneError,
    Reason,
    RetryableError,
)
from ops.isolation import ItemFaults, describe, divided, is_crash, is_of_item
from ops.types import AdKey, AdStatus
from tests.support.session_world import QUICK, GatedBackbone, Working, World


@pytest.fixture
def world() -> World:
    return World()


class PoisonedBackbone(GatedBackbone):
    """Raises an error for a batch with a photo of this brightness, and counts its calls."""

    def __init__(self, world: World, error: BaseException, brightness: int = 255) -> None:
        super().__init__(world)
        self.error = error
        self.brightness = brightness

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        result = super().embed(images)
        if any(image.mean() == self.brightness for image in images):
            raise self.error
        return result


class Panic(BaseException):
    """As Rust libraries raise it: not an Exception."""


def poison_model(world: World, error: BaseException, brightness: int = 255) -> None:
    release = replace(world.release("r1"), embedder=PoisonedBackbone(world, error, brightness))
    world.releases = (release,)


def reasons(world: World, ad_id: str) -> list[str | None]:
    photos = world.ads[AdKey("kg", ad_id)].photos
    return [None if photo.failure is None else photo.failure.reason.value for photo in photos]


# --- one photo, among others


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("poison"), MemoryError(), Panic("rust"), SystemExit(1)]
)
def test_a_photo_that_the_model_chokes_on_fails_alone(world: World, error: BaseException) -> None:
    """Its neighbours in the batch are scored, and its ad by its other photos."""
    poison_model(world, error)
    world.hold("embed")
    for n in range(16):
        world.publish(str(n), f"dark-{n}")
    world.publish("poisoned", "dark-20", "bright-1")
    world.publish("only", "bright-2")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: "embed" in world.calls)
        world.free("embed")
        world.until(lambda: world.offsets == {0: 18})
        errors = dict(working.session.snapshot().internal_errors)
    assert world.labels() == {
        **{str(n): {"r1": "dark"} for n in range(16)},
        **{"poisoned": {"r1": "dark"}, "only": {}},
    }
    assert reasons(world, "poisoned") == [None, "internal_error"]
    assert world.ads[AdKey("kg", "only")].status is AdStatus.UNSCORED
    assert errors == {"model": 2}
    assert (working.total.admitted, working.total.unaccounted) == (18, 0)


def test_too_little_memory_for_a_batch_fails_nothing(world: World) -> None:
    """The batch is halved until it fits."""

    class Small(GatedBackbone):
        def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
            if len(images) > 2:
                raise MemoryError
            return super().embed(images)

    world.releases = (replace(world.release("r1"), embedder=Small(world)),)
    world.hold("photo dark-0")
    for n in range(20):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world):
        world.free("photo dark-0")
        world.until(lambda: world.offsets == {0: 20})
    assert set(map(str, world.labels())) == {str(n) for n in range(20)}
    assert all(labels == {"r1": "dark"} for labels in world.labels().values())


def test_the_failure_says_what_was_raised_and_where(world: World) -> None:
    """The exception's type, the place, and never its message."""
    poison_model(world, ValueError("a secret in the message"))
    world.publish("1", "bright-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed("1"))
    failure = world.ads[AdKey("kg", "1")].photos[0].failure
    assert failure is not None
    assert failure.detail.startswith("ValueError in tests.unit.ops.session.test_isolation:")
    assert "(embed), called from ops.scoring.ads:" in failure.detail
    assert "secret" not in failure.detail


def test_a_photo_that_loading_chokes_on_fails_alone(world: World) -> None:
    """The ad's other photos are loaded, and the other ads never notice."""
    load = world.photos.load

    async def poisoned(refs, backbones, **options):  # type: ignore[no-untyped-def]
        if any(ref.url == "http://xn--a/1.jpg" for ref in refs):
            raise UnicodeError("label empty or too long")
        return await load(refs, backbones, **options)

    world.photos.load = poisoned  # type: ignore[method-assign]
    world.publish("before", "dark-1")
    world.publish("poisoned", "http://xn--a/1.jpg", "dark-2")
    world.publish("after", "dark-3")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 3})
    assert set(world.labels()) == {"before", "poisoned", "after"}
    assert reasons(world, "poisoned") == ["internal_error", None]
    assert working.total.unaccounted == 0


def test_a_photo_that_alone_is_unavailable_fails(world: World) -> None:
    """An outage of the store ends the session at last; this is none, as others are loaded."""
    load = world.photos.load

    async def unavailable(refs, backbones, **options):  # type: ignore[no-untyped-def]
        if any(ref.url == "dark-poison" for ref in refs):
            raise RetryableError("the store does not answer")
        return await load(refs, backbones, **options)

    world.photos.load = unavailable  # type: ignore[method-assign]
    world.publish("poisoned", "dark-poison", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, outage_s=0.2)) as working:
        for n in range(100_000):
            world.publish(str(n), f"dark-{n}")
            world.until(lambda n=n: world.committed(str(n)))
            if world.committed("poisoned"):
                break
    assert working.error is None
    assert reasons(world, "poisoned") == ["internal_error", None]


# --- one record, or one ad, as a whole


def test_a_record_that_the_parser_chokes_on_is_a_dead_letter(world: World) -> None:
    """With its original bytes; the other records of the poll are read."""
    session = None
    read = None

    class Reader:
        def read(self, record, now):  # type: ignore[no-untyped-def]
            if b"poison" in (record.value or b""):
                raise RecursionError("maximum recursion depth exceeded")
            return read(record, now)

    for n in range(3):
        world.publish(f"a{n}", f"dark-{n}")
    world.publish("poison", "dark-9")
    world.publish("b", "dark-1")
    world.membership.grant(0)
    working = Working(world)
    session = working.session
    read = session.ports.reader.read
    ports = replace(session.ports, reader=Reader())
    session.ports = session.state.ports = ports
    with working:
        world.until(lambda: world.offsets == {0: 5})
    (letter,) = world.letters
    assert letter.record.value is not None and b"poison" in letter.record.value
    assert letter.failure.reason is Reason.INTERNAL_ERROR
    assert set(world.labels()) == {"a0", "a1", "a2", "b"}
    assert dict(working.total.dead_letters) == {"internal_error": 1}
    assert working.total.unaccounted == 0


def commit_poisoned(world: World, error: Exception, ad_id: str = "poison") -> None:
    """Let the database refuse every batch with this ad."""
    commit = world.commit

    def refuse(batch, epochs):  # type: ignore[no-untyped-def]
        if any(ad.event.key.ad_id == ad_id for ad in batch.ads):
            world.act("refused")
            raise error
        return commit(batch, epochs)

    world.commit = refuse  # type: ignore[method-assign]


def test_an_ad_that_the_database_refuses_becomes_a_dead_letter(world: World) -> None:
    """The others of its batch are written; an event that it superseded is accounted for."""
    commit_poisoned(world, ValueError("numeric field overflow"))
    world.hold("photo dark-0")
    world.hold("photo dark-50")
    world.publish("poison", "dark-50")
    world.publish("poison", "dark-51", revision=2)
    world.publish("poison", "dark-52", revision=3)
    for n in range(40):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed(*(str(n) for n in range(1, 40))))
        world.free("photo dark-0", "photo dark-50")
        world.until(lambda: world.offsets == {0: 43})
    assert [letter.receipt.offset for letter in world.letters] == [0, 2]
    assert {letter.failure.reason for letter in world.letters} == {Reason.INTERNAL_ERROR}
    assert set(world.labels()) == {str(n) for n in range(40)}
    assert set(world.written.values()) == {1}
    total = working.total
    assert (total.written, total.unchanged, dict(total.dead_letters)) == (
        *(40, 1),
        {"internal_error": 2},
    )
    assert (total.admitted, total.unaccounted) == (43, 0)


def test_an_ad_whose_photos_are_never_stored_is_not_loaded_without_end(world: World) -> None:
    """A foreign key that fails again and again is the ad's own fault."""
    commit_poisoned(world, PhotosGoneError("a photo was deleted"))
    world.publish("poison", "dark-1")
    world.publish("1", "dark-2")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.offsets == {0: 2})
    assert set(world.labels()) == {"1"}
    assert [letter.receipt.offset for letter in world.letters] == [0]


@pytest.mark.parametrize(
    "error", [UnicodeEncodeError("utf-8", "x", 0, 1, "y"), ConfigurationError("too large")]
)
def test_a_dead_letter_that_the_topic_refuses_is_stored_alone(
    world: World, error: Exception
) -> None:
    """It stays in the table `failures`; the other letters are published."""
    send = world.send

    def refuse(letters):  # type: ignore[no-untyped-def]
        if any(letter.record.value == b"poison" for letter in letters):
            raise error
        send(letters)

    world.send = refuse  # type: ignore[method-assign]
    for value in (b"nonsense", b"poison", b"more nonsense"):
        world.publish_bytes(value)
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.offsets == {0: 3})
    assert {letter.record.value for letter in world.letters} == {b"nonsense", b"more nonsense"}
    stored = [letter.record.value for batch in world.commits for letter in batch.dead_letters]
    assert sorted(filter(None, stored)) == [b"more nonsense", b"nonsense", b"poison"]


def test_an_error_after_the_commit_ends_nothing(world: World) -> None:
    """The ad is committed; it is neither committed again nor made a failure."""
    world.fail("committed", KeyError("metrics"))
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed("1"))
        world.publish("2", "dark-2")
        world.until(lambda: world.committed("2"))
        assert dict(working.session.snapshot().internal_errors) == {"after the commit": 1}
    assert world.written == {AdKey("kg", "1"): 1, AdKey("kg", "2"): 1}
    assert world.letters == []


# --- what is no fault of an item


def test_a_fault_that_hits_every_ad_ends_the_session_with_it(world: World) -> None:
    """A library that fails for all: the topic is not turned into failures."""
    poison_model(world, ZeroDivisionError("broken"), brightness=0)
    for n in range(200):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world, replace(QUICK, failures_in_a_row=5, batch_photos=1)) as working:
        working.until_ended()
    assert isinstance(working.error, CircuitOpenError)
    assert "ZeroDivisionError in" in str(working.error) and "model" in str(working.error)
    assert isinstance(working.error.__cause__, ZeroDivisionError)
    assert len(world.ads) < 5
    assert not is_crash(working.error), "no ad is suspected"


def test_the_circuit_breaker_counts_different_items_without_a_good_one_between() -> None:
    """One seller's ad that fails again and again opens nothing, nor do failures among good ones."""
    faults = ItemFaults(3)
    for _ in range(10):
        faults.failure("model", "the same", ValueError())
    for n in range(10):
        faults.passed("model")
        faults.failure("model", n, ValueError())
        faults.failure("model", -n - 1, ValueError())
        faults.failure("photos", n, ValueError()) if n < 2 else None
    with pytest.raises(CircuitOpenError, match="3 different items"):
        faults.failure("model", "a third", ValueError())
    assert faults.counts == {"model": 31, "photos": 2}


def test_an_error_with_a_reason_keeps_it() -> None:
    """It is a known failure, not an internal error."""
    faults = ItemFaults(1)
    error = BadInputError(Reason.PHOTO_EMPTY, "0 bytes")
    assert faults.failure("photos", 1, error).reason is Reason.PHOTO_EMPTY
    assert faults.counts == {}


@pytest.mark.parametrize(
    "error",
    [RetryableError("x"), ConfigurationError("x"), KeyboardInterrupt(), asyncio.CancelledError()],
)
def test_infrastructure_settings_and_interrupts_are_not_of_items(error: BaseException) -> None:
    """They end or pause the session, and make no failure."""
    assert not is_of_item(error)
    calls = []

    def act(items: Sequence[int]) -> list[int]:
        calls.append(items)
        raise error

    with pytest.raises(type(error)):
        divided([1, 2, 3], act, lambda item, _: [item])
    assert calls == [[1, 2, 3]]


def test_a_callback_that_raises_on_the_photos_loop_ends_the_session(world: World) -> None:
    """The ad that waits for it would wait without end, and its partition with it."""

    async def lost(refs, backbones, **options):  # type: ignore[no-untyped-def]
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        loop.call_soon(lambda: answer.set_result(1 / 0))
        return await answer

    world.photos.load = lost  # type: ignore[method-assign]
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world) as working:
        working.until_ended()
    assert isinstance(working.error, ZeroDivisionError)
    assert is_crash(working.error)
    assert world.offsets == {}


# --- the division


@pytest.mark.parametrize("poisonous", [set(), {0}, {7}, {31}, {3, 4, 30}, set(range(32))])
def test_every_item_has_one_result_in_order(poisonous: set[int]) -> None:
    """Whichever items are at fault, and however many."""

    def act(items: Sequence[int]) -> list[str]:
        if poisonous & set(items):
            raise ValueError
        return [f"good {item}" for item in items]

    results = divided(list(range(32)), act, lambda item, _: [f"bad {item}"])
    assert results == [f"{'bad' if n in poisonous else 'good'} {n}" for n in range(32)]


def test_an_error_that_strikes_once_fails_nothing() -> None:
    """A single item is tried twice."""
    errors = [MemoryError()]

    def act(items: Sequence[int]) -> Sequence[int]:
        if errors:
            raise errors.pop()
        return items

    assert divided([1], act, lambda item, _: [-item]) == [1]


def test_a_description_fits_a_row_and_names_our_code() -> None:
    """Plain ASCII without the message, whatever the exception's type is called."""

    class Ошибка(Exception):
        pass

    try:
        raise Ошибка("\x00" * 10_000)
    except Ошибка as error:
        text = describe(error)
    assert text.isascii() and "\x00" not in text and len(text) <= 500
    assert "test_isolation:" in text
    assert describe(KeyError("never raised")) == "KeyError"
