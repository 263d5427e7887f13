"""`lalafo publish`: a file's lines to a live gateway, and what becomes of each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import NotAllowed, ServiceUnavailable
from lalafo_assets.commands.publishing import Published, publish_lines
from tests.support.gateway_place import Place
from tests.support.live_session import ad
from tests.support.working_sessions import until


def lines(*events: dict | bytes) -> list[bytes]:
    return [e if isinstance(e, bytes) else json.dumps(e).encode() + b"\n" for e in events]


def event(catalog: str, ad_id: str, revision: int = 1, **changes: object) -> dict:
    return {**ad(ad_id, [], revision, catalog=catalog), **changes}


def statuses(place: Place, catalog: str) -> dict[str, tuple[int, str]]:
    rows = place.live.rows(
        "SELECT ad_id, revision, status FROM lalafo.ads WHERE catalog = %s", catalog
    )
    return {ad_id: (revision, status) for ad_id, revision, status in rows}


def test_good_lines_go_and_bad_ones_are_told(place: Place) -> None:
    """In = accepted + refused; each refusal has its line and the stream's own reason."""
    given = lines(
        event("pub", "1"),
        b"\n",
        b"not json\n",
        event("pub", "2", more="than we read", title=None, price=12.5),
        event("pub", "3", revision="seven"),
        event("pub", "4", photos=[{"url": "http://a/b"}] * 10_000),
        event("pub", "5", kind="deleted"),
        {**event("pub", "6"), "catalog": "a/b"},
    )
    seen: list[int] = []
    done = publish_lines(
        given, url=place.url, key=place.key, on_progress=lambda now: seen.append(now.lines)
    )
    assert (done.accepted, done.superseded, done.waiting) == (3, 0, 0)
    assert [(refused.number, refused.reason) for refused in done.refused] == [
        (3, "event_not_json"),
        (5, "event_bad_revision"),
        (6, "event_too_many_photos"),
        (8, "event_wrong_type"),
    ]
    assert seen == list(range(1, 8))
    expected = {"1": (1, "no_photos"), "2": (1, "no_photos"), "5": (1, "deleted")}
    until(lambda: statuses(place, "pub") == expected)
    again = publish_lines(given, url=place.url, key=place.key)
    assert (again.accepted, len(again.refused)) == (3, 4), "the same file may come again"
    assert statuses(place, "pub") == expected


def test_lines_of_one_ad_keep_their_order(place: Place) -> None:
    """However many go at once: no revision is overtaken by the next."""
    given = lines(
        *(
            event("order", str(n % 5), revision, kind="deleted" if revision == 40 else "upserted")
            for revision in range(1, 41)
            for n in range(5)
        )
    )
    done = publish_lines(given, url=place.url, key=place.key)
    assert (done.accepted, done.superseded, done.refused) == (200, 0, [])
    until(lambda: statuses(place, "order") == {str(n): (40, "deleted") for n in range(5)})


def test_a_pipe_s_lines_go_at_once(place: Place) -> None:
    """A line is published before the next one is there."""
    progress = Published()

    def slowly() -> Iterator[bytes]:
        for number in range(3):
            until(lambda number=number: progress.accepted == number)  # type: ignore[misc]
            yield from lines(event("pipe", str(number)))

    def on_progress(now: Published) -> None:
        progress.accepted = now.accepted

    assert (
        publish_lines(slowly(), url=place.url, key=place.key, on_progress=on_progress).accepted == 3
    )


def test_what_fails_every_line_ends_it(place: Place) -> None:
    """A key that may not, or no gateway: one error, not one a line."""
    given = lines(*(event("none", str(n)) for n in range(50)))
    reader = place.new_key("publish-reader", scopes=["read"])
    for key in ("", reader):
        with pytest.raises(NotAllowed):
            publish_lines(given, url=place.url, key=key)
    with pytest.raises(ServiceUnavailable):
        publish_lines(given, url="http://127.0.0.1:9", key="", patience_s=0)
    assert statuses(place, "none") == {}


def test_a_key_for_other_catalogs_refuses_their_lines_alone(place: Place) -> None:
    """Each line is judged for itself."""
    key = place.new_key("publish-one", catalogs=["mine"])
    given = lines(event("mine", "1"), event("theirs", "1"), event("mine", "2"))
    done = publish_lines(given, url=place.url, key=key)
    assert done.accepted == 2
    assert [(refused.number, refused.reason) for refused in done.refused] == [(2, "other_catalog")]


def test_the_command_s_status_and_words(place: Place, tmp_path: Path) -> None:
    """Status 1 where a line was refused, with its number; 0 where none was."""
    good = lines(event("command", "1"), event("command", "2"))
    bad = lines(event("command", "3", schema=9))
    for given, status in ((good, 0), ([*good, *bad], 1)):
        file = tmp_path / "events.jsonl"
        file.write_bytes(b"".join(given))
        done = subprocess.run(
            [sys.executable, "-m", "lalafo_assets.cli", "publish", str(file)],
            env={
                **place.environment,
                "LALAFO_GATEWAY_URL": place.url,
                "LALAFO_GATEWAY_KEY": place.key,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "2 events accepted" in done.stdout
        assert ("line 3: event_unknown_schema: schema is 9" in done.stderr) == (status == 1)
        assert place.key not in done.stdout + done.stderr
