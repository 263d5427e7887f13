"""Every migration, up and down, with rows in the tables and a concurrent writer.

At each step the writer uses the older schema only, like the sessions that run while a migration is
applied, and those that run after a rollback of the code.
"""

import itertools
import threading
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from alembic.script import ScriptDirectory

from resources.postgres.database import MIGRATIONS, Database
from tests.conftest import connect_args

SEEN = "TIMESTAMPTZ '2026-11-01 10:00:00Z'"

WRITES = {
    "0001": (
        "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
        'event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "offset", '
        f"run_id) VALUES ('kg', %(id)s, 1, '2026-11-01', 'scored', '', '', 'e', {SEEN}, {SEEN}, "
        f"{SEEN}, 's', 'ads', 0, %(n)s, 'r')",
        "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
        "source_format, source_width, source_height, source_bytes, run_id) "
        "VALUES (%(sha)s, %(sha)s, 9, 1, 1, 'jpeg', 1, 1, 9, 'r')",
        "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, sha256, revision, run_id) "
        "VALUES ('kg', %(id)s, 0, %(sha)s, 1, 'r')",
        "INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id) "
        "VALUES ('b', %(sha)s, '[1,0]', 'first', 'r')",
        "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, "
        "score, details, run_id) VALUES ('first', 'kg', %(id)s, 'category', 1, '2026-11-01', "
        "'chair', 0.5, '{}', 'r')",
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
        'partition, "offset", run_id) '
        "VALUES ('event', %(id)s, 'x', '', '2026-11-01', 's', 'ads', 0, %(n)s, 'r')",
        "INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at, "
        f"polled_at, photos_ms, embed_ms, predict_ms) VALUES ('kg', %(id)s, 1, '2026-11-01', 'r', "
        f"{SEEN}, {SEEN}, 1, 1, 1)",
        "UPDATE lalafo.releases_in_force SET changed_at = now()",
    ),
    "0002": (
        "INSERT INTO lalafo.outbox (topic, value) VALUES ('ads.scored', %(sha)s)",
        "INSERT INTO lalafo.photos_let_go (sha256) VALUES (%(sha)s)",
        "INSERT INTO lalafo.sessions (run_id, stream_id, topic, state, code_version, host, pid, "
        "metrics_url, backend_pid, backend_start, due_at, expires_at) "
        f"VALUES (%(id)s, 's', 'ads', 'ready', 'v', 'h', 1, '', 1, {SEEN}, {SEEN}, {SEEN})",
    ),
    "0004": (
        "INSERT INTO lalafo.release_days (release, day) "
        "VALUES ('first', DATE '2026-01-01' + %(n)s::int)",
        "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by) "
        "VALUES ('kg', %(id)s, 'category', 'chair', 'p')",
    ),
    "0005": (
        "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by) "
        "VALUES ('kg', %(id)s, 1, '{}', %(sha)s, 'k')",
        "INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer) "
        "VALUES ('k', %(id)s, %(sha)s, '{}')",
        "INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by) VALUES (%(sha)s, 9, 'k')",
        "INSERT INTO lalafo.api_keys (id, name, hash, scopes, requests_per_s) "
        "VALUES (%(id)s, 'shop', %(sha)s, '{read}', 10)",
        "INSERT INTO lalafo.stream_minutes (minute, run_id, events, photos, statuses, labels, "
        f"failures, latencies) VALUES ({SEEN}, %(id)s, 1, 1, '{{}}', '{{}}', '{{}}', '{{}}')",
    ),
    # The older names are views from here on: code of the last version still writes to them.
    "0006": (
        "SELECT FROM lalafo.active_releases FOR SHARE",
        "SELECT FROM lalafo.releases_in_force FOR SHARE",
        "INSERT INTO lalafo.orphaned_photos (sha256) VALUES (%(sha)s) ON CONFLICT DO NOTHING",
        "INSERT INTO lalafo.photos_let_go (sha256) VALUES (%(sha)s) "
        "ON CONFLICT (sha256) DO UPDATE SET since = now()",
        "INSERT INTO lalafo.release_changes (kind, release) VALUES ('rolled_back', 'first')",
    ),
    "0011": (
        "UPDATE lalafo.accepted_ads SET republished = republished + 1, recheck_at = now() "
        "WHERE ad_id = %(id)s",
    ),
    "0015": (
        "UPDATE lalafo.predictions SET top_labels = '{1,0}', top_scores = '{0.5,0.25}' "
        "WHERE ad_id = %(id)s",
    ),
    "0022": (
        "INSERT INTO lalafo.photo_hashes (sha256, pdq, quality, keys) VALUES (%(sha)s, "
        "repeat('1', 256)::bit(256), 90, (SELECT array_agg(n) FROM generate_series(1, 16) AS n))",
        "INSERT INTO lalafo.compared_ads (catalog, ad_id, revision, received_at, photos, common, "
        f"version) VALUES ('kg', %(id)s, 1, {SEEN}, '{{}}', '{{}}', 1)",
    ),
}
FIRST_ROWS = (
    "INSERT INTO lalafo.releases (name, digest, backbone, manifest) VALUES ('first', 'd', 'b', "
    "'{}')",
    "INSERT INTO lalafo.releases_in_force (live) VALUES ('first')",
    "CREATE TABLE lalafo.predictions_d PARTITION OF lalafo.predictions FOR VALUES IN ('first')",
)


def revisions() -> list[str]:
    """Return every revision, oldest first."""
    script = ScriptDirectory(str(MIGRATIONS))
    return [revision.revision for revision in script.walk_revisions()][::-1]


class Writer:
    """Writes one transaction after another, as code of one schema revision does."""

    numbers = iter(range(1, 1_000_000))

    def __init__(self, url: str, revision: str) -> None:
        self.url = url
        self.statements = [s for since, group in WRITES.items() if since <= revision for s in group]
        self.written = 0
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        self.wait_for(self.written + 3)
        return self

    def __exit__(self, *_: object) -> None:
        self.wait_for(self.written + 3)  # it continues after the migration
        self._stop.set()
        self._thread.join(20)
        assert self.error is None, self.error

    def wait_for(self, written: int) -> None:
        pause = threading.Event()
        for _ in range(2_000):
            assert self.error is None, self.error
            if self.written >= written:
                return
            pause.wait(0.01)
        raise AssertionError(f"no progress after {self.written} transactions")

    def _run(self) -> None:
        try:
            with psycopg.connect(**connect_args(self.url)) as connection:
                while not self._stop.is_set():
                    number = next(self.numbers)
                    with connection.transaction():
                        self._write(connection, number)
                    self.written += 1
        except psycopg.Error as error:
            self.error = error

    def _write(self, connection: psycopg.Connection, number: int) -> None:
        values = {"n": number, "id": str(number), "sha": number.to_bytes(32, "big")}
        for statement in self.statements:
            connection.execute(statement, values)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database at the first revision, with a live release."""
    database = Database(database_url)
    database.migrate(revisions()[0])
    execute(database_url, FIRST_ROWS)
    yield database
    database.close()


def execute(url: str, statements: Sequence[str]) -> None:
    with psycopg.connect(**connect_args(url)) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(url: str, tables: Sequence[str]) -> dict[str, int]:
    with psycopg.connect(**connect_args(url)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM lalafo.{table}").fetchall()[0][0]
            for table in tables
        }


def test_every_revision_goes_up_and_down_under_a_writer(
    database: Database, database_url: str
) -> None:
    """No write of the older code fails, and no row is lost."""
    tables = ["ads", "photos", "ad_photos", "embeddings", "predictions", "failures"]
    steps, total = revisions(), 0
    for older, newer in itertools.pairwise(steps):
        with Writer(database_url, older) as writer:
            database.migrate(newer)
        total += writer.written
        assert rows(database_url, tables) == dict.fromkeys(tables, total), newer
    for _, older in itertools.pairwise(reversed(steps)):
        with Writer(database_url, older) as writer:
            database.downgrade(older)
        total += writer.written
        assert rows(database_url, tables) == dict.fromkeys(tables, total), older
    assert total > 6 * 2 * (len(steps) - 1)


def test_every_write_is_of_a_revision(database: Database) -> None:
    """Each key of WRITES is an existing revision."""
    assert set(WRITES) <= set(revisions())
    database.migrate()
