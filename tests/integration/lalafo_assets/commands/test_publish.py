"""`lalafo publish`: publishes a file's lines to a live gateway, and reports the result of each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import NotAllowed, ServiceUnavailable
from lalafo_assets.commands.kafka.publishing import publish_to_topic
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


def test_valid_lines_are_published_and_invalid_ones_reported(place: Place) -> None:
    """Every line is accepted or refused; each refusal has its line number and a reason code."""
    published = lines(
        event("pub", "1"),
        b"\n",
        b"not json\n",
        event("pub", "2", more="an unknown field", title=None, price=12.5),
        event("pub", "3", revision="seven"),
        event("pub", "4", photos=[{"url": "http://a/b"}] * 10_000),
        event("pub", "5", kind="deleted"),
        {**event("pub", "6"), "catalog": "a/b"},
    )
    seen: list[int] = []
    done = publish_lines(
        published, url=place.url, key=place.key, on_progress=lambda now: seen.append(now.lines)
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
    again = publish_lines(published, url=place.url, key=place.key)
    assert (again.accepted, len(again.refused)) == (3, 4), "the same file may be published again"
    assert statuses(place, "pub") == expected


def test_a_line_that_cannot_be_sent_stops_no_other(place: Place) -> None:
    """Ids that no path can name, in any kind of event; nested and long numbers; odd whitespace."""
    published = lines(
        event("odd", "1"),
        event("odd", "\nNLP"),
        event("odd", "x/../victim", kind="deleted"),
        event("odd", "NLP\n", kind="deleted"),
        event("odd", "\ud800"),
        b"[" * 100_000,
        b'{"schema": ' + b"1" * 10_000 + b"}",
        event("odd", "2", revision=2**63 - 1),
        event("odd", "3", title="x" * 1_100_000),
        event("odd", "4", kind="deleted"),
    )
    done = publish_lines(published, url=place.url, key=place.key)
    assert done.accepted == 2
    assert [refused.number for refused in done.refused] == list(range(2, 10))
    until(lambda: statuses(place, "odd") == {"1": (1, "no_photos"), "4": (1, "deleted")})


def test_lines_of_the_topic_are_reported_one_by_one(place: Place) -> None:
    """--kafka: a line that is too large is reported; the others, valid or not, are published."""
    published = lines(
        event("direct", "1"),
        event("direct", "2", title="x" * 1_100_000),
        b"not json",
        b"[" * 100_000,
        event("direct", "3"),
    )
    done = publish_to_topic(place.live.settings, published)
    assert (done.accepted, [(it.number, it.reason) for it in done.refused]) == (
        4,
        [(2, "not_sent")],
    )
    assert "larger than" in done.refused[0].detail
    expected = {"1": (1, "no_photos"), "3": (1, "no_photos")}
    until(lambda: statuses(place, "direct") == expected)


def test_lines_of_one_ad_keep_their_order(place: Place) -> None:
    """Despite concurrent requests, no revision overtakes an earlier one."""
    events = lines(
        *(
            event("order", str(n % 5), revision, kind="deleted" if revision == 40 else "upserted")
            for revision in range(1, 41)
            for n in range(5)
        )
    )
    done = publish_lines(events, url=place.url, key=place.key)
    assert (done.accepted, done.superseded, done.refused) == (200, 0, [])
    until(lambda: statuses(place, "order") == {str(n): (40, "deleted") for n in range(5)})


def test_lines_of_a_pipe_are_published_at_once(place: Place) -> None:
    """A line is published before the next one is written."""
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


def test_an_error_that_concerns_every_line_ends_the_command(place: Place) -> None:
    """A key without permission, or no gateway, gives one error, not one per line."""
    events = lines(*(event("none", str(n)) for n in range(50)))
    reader = place.new_key("publish-reader", scopes=["read"])
    for key in ("", reader):
        with pytest.raises(NotAllowed):
            publish_lines(events, url=place.url, key=key)
    with pytest.raises(ServiceUnavailable):
        publish_lines(events, url="http://127.0.0.1:9", key="", patience_s=0)
    assert statuses(place, "none") == {}


def test_a_key_for_other_catalogs_refuses_their_lines_alone(place: Place) -> None:
    """Each line is checked by itself."""
    key = place.new_key("publish-one", catalogs=["mine"])
    events = lines(event("mine", "1"), event("other", "1"), event("mine", "2"))
    done = publish_lines(events, url=place.url, key=key)
    assert done.accepted == 2
    assert [(refused.number, refused.reason) for refused in done.refused] == [(2, "other_catalog")]


def test_the_status_and_messages_of_the_command(place: Place, tmp_path: Path) -> None:
    """Status 1 and the number of the line if one was refused; otherwise status 0."""
    valid = lines(event("command", "1"), event("command", "2"))
    invalid = lines(event("command", "3", schema=9))
    for content, status in ((valid, 0), ([*valid, *invalid], 1)):
        file = tmp_path / "events.jsonl"
        file.write_bytes(b"".join(content))
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
        assert ("1 lines not published" in done.stdout) == (status == 1)
        assert ("1  event_unknown_schema" in done.stderr) == (status == 1)
        assert ("line 3: event_unknown_schema: schema is 9" in done.stderr) == (status == 1)
        assert place.key not in done.stdout + done.stderr


def test_an_error_before_the_first_event_is_all_that_is_printed(
    place: Place, tmp_path: Path
) -> None:
    """A broker that can't be reached: no "0 events accepted" before it."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(lines(b"not json\n", event("gone", "1"))))
    done = subprocess.run(
        [sys.executable, "-m", "lalafo_assets.cli", "publish", str(file), "--kafka"],
        env={**place.environment, "LALAFO_KAFKA_BOOTSTRAP": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "LALAFO_KAFKA_BOOTSTRAP" in done.stderr
