"""Ten thousand events through sessions that are killed: none lost, duplicated or changed.

One undisturbed pass over the topic is the reference; the same topic is then read into another
database by sessions that are killed at random moments. `LALAFO_DRILL=1` (`make drill`) runs ten
times as many events.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.postgres import EmbeddedPostgres
from resources.inference.loading import install
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.settings import Settings
from resources.storage.releases import ReleaseStore
from tests.support.event_corpus import CORRUPT, MISSING, PHOTOS, Corpus, make_corpus, publish
from tests.support.odd_photos import jpeg, noisy
from tests.support.session_process import Crew, wait_for
from tests.support.stream_outcome import (
    Outcome,
    TableContents,
    announced,
    outcome_of,
    table_contents,
)

pytestmark = pytest.mark.kafka

DRILL = os.environ.get("LALAFO_DRILL") == "1"
EVENTS = 100_000 if DRILL else 10_000
KILLS = 60 if DRILL else 20
PARTITIONS = 4
PATIENCE_S = 3_600 if DRILL else 300
SEED = 20261122


@dataclass
class Place:
    """One database that reads the topic."""

    settings: Settings
    database: Database

    def committed(self) -> int:
        """The number of events whose offsets are committed, over all partitions."""
        with self.database.cursor() as cursor:
            cursor.execute("SELECT coalesce(sum(next_offset), 0)::int FROM lalafo.stream_offsets")
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])

    def unannounced(self) -> int:
        """The number of outcomes that are committed and not acknowledged by Kafka yet."""
        with self.database.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM lalafo.outbox")
            row = cursor.fetchone()
            assert row is not None
            return int(row[0])

    def offsets(self) -> dict[int, int]:
        """The committed offset of each partition that has one."""
        with self.database.cursor() as cursor:
            cursor.execute("SELECT partition, next_offset FROM lalafo.stream_offsets")
            return dict(cursor.fetchall())

    def holders(self) -> dict[int, str]:
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT partition, run_id FROM lalafo.leases WHERE expires_at > clock_timestamp()"
            )
            return dict(cursor.fetchall())


@dataclass
class Storm:
    """The topic, and the results of both passes over it."""

    corpus: Corpus
    stream: AdStream
    calm: Place
    stormy: Place
    kills: int
    runs: int


@pytest.fixture(scope="module")
def places(
    postgres: EmbeddedPostgres,
    make_database: object,
    migrated_template: str,
    kafka_server: KafkaServer,
    release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Place]]:
    """Two databases and stores beside one topic, each with the same release live."""
    exports = {k.removeprefix("LALAFO_").lower(): v for k, v in kafka_server.exports().items()}
    opened = []
    for name in ("calm", "stormy"):
        database = Database(postgres.url(make_database(template=migrated_template)))  # type: ignore[operator]
        settings = Settings.model_validate(
            {
                **exports,
                "ads_topic": f"ads-storm-{os.getpid()}",
                "dlq_topic": f"ads-storm-{os.getpid()}.dlq",
                "home": tmp_path_factory.mktemp(name),
                "database_url": database.url.render_as_string(),
                "fetch_allow_private": True,
                "model_mode": "eager",
                "sessions": 2,
            }
        )
        store = ReleaseStore(settings.resolved_store_url)
        make_live(database, install(database, store, release).name)
        opened.append(Place(settings, database))
    yield opened
    for place in opened:
        place.database.close()


@pytest.fixture(scope="module")
def storm(places: list[Place], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    """Run both passes: first the calm one, then the one with the kills."""
    calm, stormy = places
    folder = tmp_path_factory.mktemp("photos")
    names = [f"{number}.jpg" for number in range(PHOTOS)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(noisy(64, 48, number)))
    (folder / CORRUPT).write_bytes(jpeg(noisy(64, 48, 999))[:-400])
    with PhotoHost(folder) as host, AdStream.from_settings(calm.settings) as stream:
        stream.ensure_topics(PARTITIONS)
        corpus = make_corpus(
            EVENTS,
            [host.url(name) for name in names],
            host.url(MISSING, path="missing"),
            host.url(CORRUPT),
            SEED,
        )
        publish(stream, corpus.messages)
        with Crew(calm.settings, size=1, name="calm"):
            drained(calm)
        ends = {p: end for p, (_, end) in stream.bounds(range(PARTITIONS)).items()}
        kills, runs = _kill_and_drain(stormy, ends)
        yield Storm(corpus, stream, calm, stormy, kills, runs)


def drained(place: Place) -> None:
    wait_for(
        lambda: place.committed() == EVENTS,
        lambda: f"{place.committed()} of {EVENTS} events committed",
        PATIENCE_S,
    )


def _kill_and_drain(place: Place, ends: Mapping[int, int]) -> tuple[int, int]:
    """Run sessions, and kill one of them whenever a random number of events is committed.

    Every partition that is not at its end has moved on since the kill before: a record at whose
    offset sessions die again and again is quarantined (`test_deadly_records.py`).
    """
    rng = random.Random(SEED)
    moments = sorted(rng.sample(range(EVENTS // 100, EVENTS - EVENTS // 20), KILLS))
    kills, before = 0, dict.fromkeys(ends, 0)
    with Crew(place.settings, size=2, name="stormy") as crew:
        for number, moment in enumerate(moments):
            wait_for(
                lambda moment=moment, before=before: (
                    place.committed() >= moment
                    and bool(place.holders())
                    and _moved(before, place.offsets(), ends)
                ),
                lambda: f"{place.committed()} of {EVENTS}, holders {place.holders()}",
                PATIENCE_S,
            )
            if number % 7 == 3:
                crew.kill_all()
            else:
                victim = rng.choice(sorted(set(place.holders().values())))
                member = next((m for m in crew.members if m.run_id == victim), None)
                if member is not None:
                    member.kill()
            kills, before = kills + 1, place.offsets()
        drained(place)
        # The living sessions relay the pending records of the killed ones.
        wait_for(
            lambda: place.unannounced() == 0,
            lambda: f"{place.unannounced()} outcomes are still not published to ads.scored",
            60,
        )
        return kills, crew.started


def _moved(before: Mapping[int, int], now: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    """Whether every partition is further on, or at its end."""
    return all(now.get(p, 0) > before.get(p, 0) or now.get(p) == end for p, end in ends.items())


@pytest.mark.timeout(PATIENCE_S * 3)
def test_sessions_killed_at_random_lose_and_duplicate_nothing(storm: Storm) -> None:
    """Compared with an undisturbed pass, keys, revisions, statuses, reasons, releases and offsets
    are equal, and scores differ by 1e-3 at most."""
    calm, stormy = outcome_of(storm.calm.database), outcome_of(storm.stormy.database)
    summary = (
        f"{EVENTS} events, {storm.kills} kills, {storm.runs} sessions: "
        f"{len(calm.ads)} ads undisturbed, {len(stormy.ads)} through the kills"
    )
    assert storm.kills == KILLS, summary
    lost = calm.ads.keys() - stormy.ads.keys()
    extra = stormy.ads.keys() - calm.ads.keys()
    assert (len(lost), len(extra)) == (0, 0), summary
    wrong = {
        key: (calm.ads[key], stormy.ads[key])
        for key in calm.ads
        if calm.ads[key] != stormy.ads[key]
    }
    assert wrong == {}, f"{len(wrong)} ads differ; {summary}"
    assert stormy.letters == calm.letters, summary
    assert stormy.offsets == calm.offsets, summary
    assert stormy.duplicates == 0, f"{stormy.duplicates} duplicate rows; {summary}"
    _check_scores(calm, stormy, summary)


def _check_scores(calm: Outcome, stormy: Outcome, summary: str) -> None:
    assert calm.scores.keys() == stormy.scores.keys(), summary
    far = {
        key: (calm.scores[key], stormy.scores[key])
        for key in calm.scores
        if abs(calm.scores[key] - stormy.scores[key]) > 1e-3
    }
    assert far == {}, f"{len(far)} scores differ by more than 1e-3; {summary}"


def test_every_outcome_is_announced_at_least_once(storm: Storm) -> None:
    """`ads.scored` has each ad's last state, also those committed by killed sessions."""
    final = {
        (key, ad.revision, ad.status) for key, ad in outcome_of(storm.stormy.database).ads.items()
    }
    seen = announced(storm.stream, run_prefix="stormy-", until=final)
    missing = final - seen
    assert missing == set(), f"{len(missing)} of {len(final)} outcomes were never announced"


def test_each_ad_ends_at_its_highest_revision(storm: Storm) -> None:
    """With interleaved, late and redelivered updates and deletes; computed from the events."""
    expected = storm.corpus.expected()
    for place in (storm.calm, storm.stormy):
        found = {
            key: (ad.revision, ad.status, ad.reasons)
            for key, ad in outcome_of(place.database).ads.items()
        }
        right = {key: (ad.revision, ad.status, ad.reasons) for key, ad in expected.items()}
        wrong = {
            key: (found.get(key), right.get(key))
            for key in found.keys() | right.keys()
            if found.get(key) != right.get(key)
        }
        assert wrong == {}, f"{len(wrong)} of {len(right)} ads"


def test_poison_records_stop_nothing(storm: Storm) -> None:
    """Every bad record is a dead letter with its reason and offset; every good ad is committed."""
    poison = storm.corpus.poison
    for place in (storm.calm, storm.stormy):
        letters = outcome_of(place.database).letters
        assert Counter(letters.values()) == poison, (
            f"{sum(poison.values())} poisoned of {EVENTS}, {len(letters)} dead letters"
        )


@pytest.mark.timeout(PATIENCE_S)
def test_a_replay_changes_no_row(storm: Storm) -> None:
    """The same events again, from the first offset: every table is unchanged."""
    before = table_contents(storm.stormy.database)
    with storm.stormy.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.stream_offsets")
    with Crew(storm.stormy.settings, size=1, name="replay"):
        drained(storm.stormy)
    after = table_contents(storm.stormy.database)
    changed = _changed(before, after)
    assert changed == {}, f"{changed} rows changed by a replay of {EVENTS} events"


def _changed(before: TableContents, after: TableContents) -> dict[str, int]:
    counts = {table: len(set(before[table]) ^ set(after[table])) for table in before}
    return {table: count for table, count in counts.items() if count}


def test_the_reference_is_complete(storm: Storm) -> None:
    """The undisturbed pass scored every ad that has a photo."""
    with (
        closing(Database(storm.calm.settings.database_url)) as database,
        database.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT count(*) FROM lalafo.ads AS a WHERE status = 'scored' AND NOT EXISTS "
            "(SELECT FROM lalafo.predictions AS p WHERE p.catalog = a.catalog "
            "AND p.ad_id = a.ad_id)"
        )
        assert cursor.fetchone() == (0,)
