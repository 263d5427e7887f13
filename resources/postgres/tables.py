"""SQLAlchemy metadata of the tables in schema `lalafo`; the migrations create them.

All keys are natural keys. Rows computed by a model name their release and their Dagster run. Times
are UTC. `tests/integration/resources/postgres/test_database.py` checks that this metadata, column
comments included, equals the schema that the migrations create.
"""

from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIT, JSONB, REAL
from sqlalchemy.types import TypeEngine

from ops.duplicates.look_up import PLACES, WORD_BITS
from ops.duplicates.pdq import LEAST_QUALITY

SCHEMA = "lalafo"
NAMING = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

metadata = MetaData(schema=SCHEMA, naming_convention=NAMING)


MOMENT = DateTime(timezone=True)


def key(name: str, kind: type[TypeEngine[Any]] | TypeEngine[Any] = Text) -> Column[Any]:
    """Return a column of the primary key."""
    return Column(name, kind, primary_key=True, autoincrement=False)


def moment(name: str, *, nullable: bool = False, now: bool = False) -> Column[Any]:
    """Return a timestamp column in UTC; `now`: it defaults to the time of the transaction."""
    default = func.now() if now else None
    return Column(name, MOMENT, nullable=nullable, server_default=default)


ads = Table(
    "ads",
    metadata,
    key("catalog"),
    key("ad_id"),
    Column("revision", BigInteger, nullable=False, comment="the seller system's; the higher wins"),
    Column(
        "day", Date, nullable=False, comment="UTC day of the first event received; never changes"
    ),
    Column("status", Text, nullable=False, comment="scored, unscored, no_photos, deleted"),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, comment="as the seller filed it: a label, not a prediction"),
    Column("price", Numeric(17, 2)),
    Column("currency", Text),
    Column("event_id", Text, nullable=False),
    moment("occurred_at"),
    moment("kafka_at"),
    moment("received_at"),
    Column("stream_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    moment("updated_at", now=True),
    Column("attributes", JSONB, comment="the catalog's numbers by name; null: none"),
    Column("seller", Text, comment="the catalog's id of the seller; null: not given"),
    Index(None, "day"),
    # For pages of a catalogue's latest ads.
    Index(None, "catalog", "received_at", "ad_id"),
    # The same for those of one category that sellers chose, and for the few that have no score.
    Index(None, "catalog", "category", "received_at", "ad_id"),
    Index(
        None,
        *("catalog", "status", "received_at", "ad_id"),
        postgresql_where=text("status <> 'scored'"),
    ),
    # For the ads that upkeep requeues: a few rows among millions.
    Index(
        "ads_to_retry_idx",
        "updated_at",
        postgresql_where=text("status IN ('received', 'unscored')"),
    ),
)

photos = Table(
    "photos",
    metadata,
    key("sha256", LargeBinary),
    Column("rendition_sha256", LargeBinary, nullable=False),
    Column("rendition_bytes", Integer, nullable=False),
    Column("width", SmallInteger, nullable=False, comment="of the rendition, pixels"),
    Column("height", SmallInteger, nullable=False),
    Column("source_format", Text, nullable=False),
    Column("source_width", Integer, nullable=False),
    Column("source_height", Integer, nullable=False),
    Column("source_bytes", Integer, nullable=False),
    Column(
        "note",
        Text,
        comment="photo_incomplete: the file lacked its end; photo_blank: one colour; else null",
    ),
    Column("thumbnail_sha256", LargeBinary, comment="made off the hot path; null until then"),
    Column("run_id", Text, nullable=False),
    moment("created_at", now=True),
    # For the photo sweep, which checks whether another photo has the same rendition or thumbnail.
    Index(None, "rendition_sha256"),
    Index(None, "thumbnail_sha256", postgresql_where=text("thumbnail_sha256 IS NOT NULL")),
)

ad_photos = Table(
    "ad_photos",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("position", SmallInteger),
    Column("url", Text),
    # The foreign key locks the photo's row, so that the sweep can't delete a photo in use.
    Column("sha256", LargeBinary, ForeignKey(photos.c.sha256)),
    Column("reason", Text, comment="why there is no photo; null where there is one"),
    Column("revision", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    CheckConstraint("(sha256 IS NULL) <> (reason IS NULL)", name="photo_or_reason"),
    Index(None, "sha256"),
)

embeddings = Table(
    "embeddings",
    metadata,
    key("backbone"),
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    Column("embedding", HALFVEC, nullable=False, comment="unit length"),
    Column("release", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    moment("created_at", now=True),
    Index(None, "sha256"),
)

predictions = Table(
    "predictions",
    metadata,
    key("release"),
    key("catalog"),
    key("ad_id"),
    key("task"),
    Column("revision", BigInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("label", Text, nullable=False),
    Column("score", REAL, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    Column("run_id", Text, nullable=False),
    moment("scored_at", now=True),
    Column(
        *("top_labels", ARRAY(Integer)),
        comment="indices of the best labels in the release's taxonomy of the task, best first; "
        "null: `details` has them, or the task has none",
    ),
    Column("top_scores", ARRAY(REAL), comment="the scores of top_labels"),
    postgresql_partition_by="LIST (release)",
)

# The answers of tasks of scope photo. A photo has one, whichever ads show it.
photo_predictions = Table(
    "photo_predictions",
    metadata,
    # No foreign key: its rows are deleted by the sweep that deletes the photo.
    key("sha256", LargeBinary),
    key("release"),
    key("task"),
    Column("label", Text, nullable=False),
    Column("score", REAL, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    Column("run_id", Text, nullable=False),
    moment("scored_at", now=True),
    postgresql_partition_by="LIST (release)",
)

# Ads whose tasks of the lane after the ad's path are still to run. Two rows of an ad do no harm:
# a commit never waits for the worker that holds one of them.
deferred_ads = Table(
    "deferred_ads",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("ad_id", Text, nullable=False),
    Column(
        *("revision", BigInteger),
        nullable=False,
        comment="of the commit that queued it: with another one of the ad, the row is dropped",
    ),
    Column("day", Date, nullable=False),
    Column("traceparent", Text),
    Column(
        *("attempts", Integer),
        nullable=False,
        server_default=text("0"),
        comment="begun so far, and not finished",
    ),
    Column("queued_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    Column(
        *("retry_at", MOMENT),
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="not before",
    ),
    Index(None, "retry_at", "id"),
    Index(None, "catalog", "ad_id"),
)

# One row for each backbone whose ads can be searched, or will be.
vector_indexes = Table(
    "vector_indexes",
    metadata,
    key("backbone"),
    Column("dimension", Integer, nullable=False, comment="numbers of a vector"),
    Column("partition", Text, nullable=False, comment="of ad_vectors: a table's name"),
    Column("state", Text, nullable=False),
    moment("created_at", now=True),
    moment("ready_at", nullable=True),
    CheckConstraint("state IN ('building', 'catching_up', 'ready')", name="state"),
)

# A row is inserted and deleted, and never updated: under an index of vectors that costs a hundred
# times as much. Which rows are of an ad's present revision, `ads` knows.
ad_vectors = Table(
    "ad_vectors",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("revision", BigInteger),
    key("backbone"),
    # With this collation the index finds a category and those below it.
    Column("category", Text(collation="C")),
    Column("price", Numeric(17, 2)),
    Column("currency", Text),
    Column("seller", Text),
    moment("received_at"),
    Column(
        *("vector", HALFVEC),
        nullable=False,
        comment="the mean of the unit vectors of the ad's photos, of unit length",
    ),
    Index(None, "catalog", "category"),
    Index(None, "catalog", "seller"),
    Index(None, "catalog", "currency", "price"),
    Index(None, "catalog", "received_at"),
    postgresql_partition_by="LIST (backbone)",
)

# Ads whose rows in ad_vectors are to be renewed; commits add them while there is an index.
vector_changes = Table(
    "vector_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("ad_id", Text, nullable=False),
    Column("queued_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
)

# Has its row while a finder of duplicates is wanted: commits then queue their ads for it.
duplicate_search = Table(
    "duplicate_search",
    metadata,
    Column("one_row", Boolean, primary_key=True, server_default=text("true")),
    moment("started_at", now=True),
    CheckConstraint("one_row", name="single"),
)

# Ads whose duplicates are to be looked for; commits add them while `duplicate_search` has its row.
duplicate_changes = Table(
    "duplicate_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("catalog", Text, nullable=False),
    Column("ad_id", Text, nullable=False),
    Column("queued_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
)

# Ads whose duplicates were looked for: at which revision, and with which photos.
compared_ads = Table(
    "compared_ads",
    metadata,
    key("catalog"),
    key("ad_id"),
    Column("revision", BigInteger, nullable=False),
    Column("seller", Text),
    moment("received_at"),
    Column("photos", ARRAY(LargeBinary), nullable=False, comment="the SHA-256 of each usable one"),
    Column(
        *("common", ARRAY(LargeBinary)),
        nullable=False,
        comment="those of `photos` that too many ads had, and that were left out",
    ),
    Column("version", Integer, nullable=False, comment="of the comparison"),
    Column("compared_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    Column(
        "title_key",
        BigInteger,
        comment="equal for titles of the same words; null: of too few, or not computed yet",
    ),
    # The last ads of one seller are candidates, and the last ones of one title.
    Index(
        None,
        *("catalog", "seller", "received_at"),
        postgresql_where=text("seller IS NOT NULL"),
    ),
    Index(
        None,
        *("catalog", "title_key", "received_at"),
        postgresql_where=text("title_key IS NOT NULL"),
    ),
)

_WORDS = ", ".join(
    f"{number << WORD_BITS} + substring(pdq from {begin + 1} for {end - begin})"
    f"::bit({end - begin})::integer"
    for number, (begin, end) in enumerate(PLACES)
)
_HASH_WORDS = (
    f"CASE WHEN quality >= {LEAST_QUALITY} THEN ARRAY[{_WORDS}] ELSE '{{}}'::integer[] END"
)
photo_hashes = Table(
    "photo_hashes",
    metadata,
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    Column("pdq", BIT(256), nullable=False),
    Column("quality", SmallInteger, nullable=False, comment="0 to 100: how much detail there is"),
    Column(
        *("keys", ARRAY(Integer)),
        nullable=False,
        server_default=text("'{}'"),
        comment="words of 16 bits, for finders of the version before 0024",
    ),
    Column(
        *("words", ARRAY(Integer), Computed(_HASH_WORDS, persisted=True)),
        nullable=False,
        comment="what near hashes are found by; none where there is too little detail",
    ),
    Column(
        "details",
        LargeBinary,
        comment="binary features, to see which photos are worth a comparison",
    ),
    CheckConstraint("cardinality(keys) IN (0, 16)", name="keys"),
    # A list of pending entries would be read by every search.
    Index(None, "words", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
)

# Two photos that are the same, or likely show the same thing; of others there is no row.
photo_pairs = Table(
    "photo_pairs",
    metadata,
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    Column(
        *("other_sha256", LargeBinary),
        ForeignKey(photos.c.sha256, ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("verdict", Text, nullable=False),
    Column("probability", REAL, nullable=False),
    Column("changes", ARRAY(Text), nullable=False, comment="how one of the two was altered"),
    Column(
        *("region", JSONB),
        comment="four corners [x, y] of what both show, as shares of the width and height",
    ),
    Column("other_region", JSONB),
    Column("version", Integer, nullable=False, comment="of the comparison"),
    Column("compared_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("sha256 < other_sha256", name="order"),
    CheckConstraint("verdict IN ('exact', 'altered', 'same_thing')", name="verdict"),
    Index(None, "other_sha256"),
)

# Photos that more ads of a catalog have than can be of one thing: they say nothing about two ads.
common_photos = Table(
    "common_photos",
    metadata,
    key("catalog"),
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    moment("since", now=True),
    Index(None, "sha256"),
)

# Two ads that are likely the same, share a photo, or were called the same by a person.
ad_pairs = Table(
    "ad_pairs",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("other_id"),
    Column("revision", BigInteger, nullable=False),
    Column("other_revision", BigInteger, nullable=False),
    Column(
        *("verdict", Text),
        comment="the best one of their photos; null: no photos of both are the same",
    ),
    Column("probability", REAL, nullable=False, comment="that both are one ad"),
    Column("reasons", JSONB, nullable=False, comment="[outcome, weight] of each comparison"),
    Column(
        *("raised_at", MOMENT),
        comment="when the event duplicate_found was written; null: it was not",
    ),
    Column("compared_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint('ad_id COLLATE "C" < other_id COLLATE "C"', name="order"),
    CheckConstraint("verdict IN ('exact', 'altered', 'same_thing')", name="verdict"),
    Index(None, "catalog", "other_id", "ad_id"),
    Index(None, "raised_at", postgresql_where=text("raised_at IS NOT NULL")),
)

# What people said of two ads. It outlives the ads' revisions and every comparison.
duplicate_labels = Table(
    "duplicate_labels",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("other_id"),
    Column("same", Boolean, nullable=False),
    Column("given_by", Text, nullable=False),
    moment("given_at", now=True),
    CheckConstraint('ad_id COLLATE "C" < other_id COLLATE "C"', name="order"),
    Index(None, "catalog", "other_id", "ad_id"),
)

# Masks of photos that people have drawn: what the gate judges the task `segments` by.
mask_labels = Table(
    "mask_labels",
    metadata,
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    Column("height", SmallInteger, nullable=False, comment="of the mask and the rendition, pixels"),
    Column("width", SmallInteger, nullable=False),
    Column("counts", Text, nullable=False, comment="COCO's compressed run-length encoding"),
    Column("given_by", Text, nullable=False),
    moment("given_at", now=True),
)

# The groups of ads that are the same. An ad that is alone has no row.
ad_groups = Table(
    "ad_groups",
    metadata,
    key("catalog"),
    key("ad_id"),
    Column("group_id", Text, nullable=False, comment="the id of the group's smallest ad"),
    moment("since", now=True),
    Index(None, "catalog", "group_id"),
    Index(None, "since"),
)

releases = Table(
    "releases",
    metadata,
    key("name"),
    Column("digest", Text, nullable=False),
    Column("backbone", Text, nullable=False, comment="the key of its embeddings"),
    Column("manifest", JSONB, nullable=False),
    Column("gate", JSONB, comment="its verdict; null until judged"),
    moment("created_at", now=True),
    UniqueConstraint("digest"),
)

active_releases = Table(
    "active_releases",
    metadata,
    Column("one_row", Boolean, primary_key=True, server_default=text("true")),
    Column("live", Text, ForeignKey(releases.c.name), nullable=False),
    Column("candidate", Text, ForeignKey(releases.c.name)),
    Column(
        *("previous", Text, ForeignKey(releases.c.name)),
        comment="live before the last promotion; scored too, so that a rollback is a switch",
    ),
    Column(
        *("announced", Text, ForeignKey(releases.c.name)),
        comment="sessions load it, so that it can become active without a pause",
    ),
    moment("changed_at", now=True),
    CheckConstraint("one_row", name="single"),
)

release_changes = Table(
    "release_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("instead_of", Text, comment="live until then"),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    moment("changed_at", now=True),
    CheckConstraint(
        "kind IN ('installed', 'proposed', 'withdrawn', 'promoted', 'retired', 'taken_back', "
        "'rolled_back')",
        name="kind",
    ),
)

# The days that had ads when a release became active. Ads committed later always have its
# predictions, because every commit is checked against the active releases.
release_days = Table(
    "release_days",
    metadata,
    Column("release", Text, ForeignKey(releases.c.name, ondelete="CASCADE"), primary_key=True),
    key("day", Date),
    Column(
        *("completed_at", DateTime(timezone=True)),
        comment="every ad of the day is scored under the release; null: some are not",
    ),
)

rescores = Table(
    "rescores",
    metadata,
    Column("release", Text, ForeignKey(releases.c.name, ondelete="CASCADE"), primary_key=True),
    key("attempt", Integer),
    Column("state", Text, nullable=False, comment="waiting, running, done, cancelled"),
    Column("backfill_id", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("any_time", Boolean, nullable=False, comment="also outside the off-peak window"),
    moment("requested_at", now=True),
    moment("started_at", nullable=True),
    moment("finished_at", nullable=True),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'cancelled')", name="state"),
)

# Labels given by people; the seller's own category is `ads.category`.
labels = Table(
    "labels",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("task"),
    Column("label", Text, nullable=False),
    Column("given_by", Text, nullable=False),
    moment("given_at", now=True),
)

failures = Table(
    "failures",
    metadata,
    key("kind"),  # event, photo, stream, task
    key("subject"),  # stream/topic/partition/offset, catalog/ad_id#position, or …#task@release
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("catalog", Text),
    Column("ad_id", Text),
    Column("url", Text),
    Column("stream_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("original", LargeBinary, comment="the record's value, where the whole was refused"),
    Column("original_key", LargeBinary, comment="the record's key, where the whole was refused"),
    Column("run_id", Text, nullable=False),
    moment("failed_at", now=True),
    Column(
        "replayed_at",
        DateTime(timezone=True),
        comment="when a person sent the original again",
    ),
    Column(
        "original_headers",
        JSONB,
        comment="the record's headers, [key, value] each, where the whole was refused",
    ),
    CheckConstraint("kind IN ('event', 'photo', 'stream', 'task')", name="kind"),
    # For upkeep, which deletes old failures, but not those of photos: they stay with their ads.
    Index("failures_day_of_records_idx", "day", postgresql_where=text("kind <> 'photo'")),
    Index(None, "failed_at", "kind", "subject"),
    # For API keys restricted to some catalogues: the scan skips the failures of other catalogues.
    Index(None, "catalog", "failed_at", "kind", "subject"),
    Index(None, "catalog", "ad_id"),
)

stream_offsets = Table(
    "stream_offsets",
    metadata,
    key("stream_id"),
    key("topic"),
    key("partition", Integer),
    Column("next_offset", BigInteger, nullable=False, comment="the first not yet committed"),
    Column("epoch", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    moment("updated_at", now=True),
)

leases = Table(
    "leases",
    metadata,
    key("stream_id"),
    key("topic"),
    key("partition", Integer),
    Column("epoch", BigInteger, nullable=False, comment="a commit under an older one is refused"),
    Column("run_id", Text, nullable=False),
    # The connection of a dead holder closes at once; expiry detects a frozen one.
    Column("backend_pid", Integer, nullable=False),
    moment("backend_start"),
    moment("acquired_at", now=True),
    moment("expires_at"),
    Column(
        *("released", Boolean),
        nullable=False,
        server_default=text("true"),
        comment="false while it is held, and if its holder died",
    ),
    Column(
        *("server", Text),
        comment="where it was acquired, see lalafo.server(); null: before revision 0023",
    ),
)

# Written when a partition of a dead session is acquired, and while it is read carefully.
session_deaths = Table(
    "session_deaths",
    metadata,
    key("stream_id"),
    key("topic"),
    key("partition", Integer),
    Column(
        *("offset", BigInteger),
        nullable=False,
        comment="committed when a session died last; -1: none",
    ),
    Column(
        *("deaths", Integer),
        nullable=False,
        comment="of sessions at this offset, each within an hour of the one before",
    ),
    moment("died_at"),
    Column("careful_from", BigInteger, comment="records from here on are read one at a time"),
    Column("attempt", BigInteger, comment="the record that was alone in process last"),
    Column("attempt_epoch", BigInteger, comment="the epoch in which it was"),
    Column(
        *("attempt_deaths", Integer),
        nullable=False,
        server_default=text("0"),
        comment="of sessions while it was alone in process",
    ),
)

sessions = Table(
    "sessions",
    metadata,
    key("run_id"),
    Column("stream_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("state", Text, nullable=False, comment="warming, ready, leaving"),
    Column("code_version", Text, nullable=False, comment="another one hands over to its own"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("metrics_url", Text, nullable=False, comment="empty: it serves none"),
    Column("backend_pid", Integer, nullable=False),
    moment("backend_start"),
    moment("started_at", now=True),
    moment("due_at"),
    moment("expires_at"),
    Column(
        *("warm", ARRAY(Text)),
        nullable=False,
        server_default=text("'{}'"),
        comment="releases that it has loaded",
    ),
    Column("error", Text, comment="why it failed, in one line; null: it has not"),
    moment("failed_at", nullable=True),
    CheckConstraint("state IN ('warming', 'ready', 'leaving')", name="state"),
    Index(None, "stream_id", "topic"),
)

# The transactional outbox: records to publish to Kafka. Written in the transaction that they
# announce, deleted after Kafka's acknowledgement.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
    ),
    Column(
        "traceparent",
        Text,
        comment="W3C trace context of the writer, for the record's header; null: not traced",
    ),
)

# Photos that lost a reference. Upkeep checks only these, not the whole table of photos.
orphaned_photos = Table(
    "orphaned_photos",
    metadata,
    Column(
        "sha256", LargeBinary, ForeignKey(photos.c.sha256, ondelete="CASCADE"), primary_key=True
    ),
    moment("since", now=True),
    Index(None, "since"),
)

stage_timings = Table(
    "stage_timings",
    metadata,
    key("catalog"),
    key("ad_id"),
    key("revision", BigInteger),
    Column("day", Date, nullable=False),
    Column("run_id", Text, nullable=False),
    moment("kafka_at"),
    moment("polled_at"),
    Column(
        *("fetch_ms", REAL),
        nullable=False,
        server_default=text("0"),
        comment="until the last photo's bytes were here",
    ),
    Column("photos_ms", REAL, nullable=False, comment="check, rendition, store, decode"),
    Column(
        *("queued_ms", REAL),
        nullable=False,
        server_default=text("0"),
        comment="ready and waiting for the model",
    ),
    Column("embed_ms", REAL, nullable=False),
    Column("predict_ms", REAL, nullable=False),
    Column(
        *("waited_for_session", Boolean),
        nullable=False,
        server_default=text("false"),
        comment="it was in Kafka before its session began to read, and no session read meanwhile",
    ),
    moment("committed_at", nullable=True),  # known only after the commit, so written afterwards
    Index(None, "day"),
)
