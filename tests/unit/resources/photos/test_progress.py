"""Waiting for one's turn is no hang; a thread that does not come back is one."""

import threading
from collections import Counter

from resources.photos.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_call_that_waits_comes_back_while_others_do():
    """An ad behind many large photos: as long as one of those is done, it waits."""
    clock, beats = Clock(), Counter()
    progress = Progress(clock)
    with (
        progress.call(lambda: beats.update(["first"])) as first,
        progress.call(lambda: beats.update(["behind"])),
    ):
        progress.done(first)
        assert beats == {"first": 1}, "the others come back once a second at most"
        clock.now = 2.0
        progress.done(first)
        assert beats == {"first": 2, "behind": 1}
    clock.now = 4.0
    progress.done(first)
    assert beats["behind"] == 1, "it has ended"


def test_a_call_whose_thread_hangs_does_not_come_back_with_others():
    """A watchdog must see it, however busy the session is with other ads."""
    clock, beats, hangs, ends = Clock(), Counter(), threading.Event(), threading.Event()
    progress = Progress(clock)

    def decode() -> str:
        hangs.set()
        ends.wait(10)
        return "decoded"

    with (
        progress.call(lambda: beats.update(["hangs"])) as hanging,
        progress.call(lambda: beats.update(["other"])) as other,
    ):
        thread = threading.Thread(target=hanging.run, args=(decode,))
        thread.start()
        assert hangs.wait(10)
        clock.now = 2.0
        progress.done(other)
        assert beats == {"other": 1}
        ends.set()
        thread.join()
        assert hanging.waits
        progress.done(hanging)
        assert beats == {"other": 1, "hangs": 1}
