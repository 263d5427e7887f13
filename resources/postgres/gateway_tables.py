"""The tables of schema `lalafo` that the gateway writes, and the per-minute statistics it reads.

As in `tables.py`: natural keys, times in UTC. Accepted events are stored apart from `ads`, which
only sessions write: `ads` has what was committed, `accepted_ads` what may still be pending.
"""

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from resources.postgres.tables import MOMENT, key, metadata, moment

# The highest accepted revision of an ad; upkeep removes it some time after `ads` has it.
accepted_ads = Table(
    "accepted_ads",
    metadata,
    key("catalog"),
    key("ad_id"),
    Column("revision", BigInteger, nullable=False),
    Column("event", JSONB, nullable=False, comment="as published to the topic"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the canonical event"),
    Column("accepted_by", Text, nullable=False, comment="the key's id"),
    moment("accepted_at", now=True),
    Column("republished", Integer, nullable=False, server_default="0"),
    Column(
        "recheck_at",
        MOMENT,
        comment="when to look again whether the topic has lost it; null: not needed",
    ),
    Index(None, "accepted_at"),
    Index(None, "recheck_at", postgresql_where=text("recheck_at IS NOT NULL")),
)

# One response per API key and Idempotency-Key, stored for a day.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    key("api_key"),
    key("idempotency_key"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the request"),
    Column("answer", JSONB, nullable=False),
    moment("created_at", now=True),
    Index(None, "created_at"),
)

# Uploaded photo bytes, stored as `uploads` until their rendition exists.
uploads = Table(
    "uploads",
    metadata,
    key("sha256", LargeBinary),
    Column("bytes", BigInteger, nullable=False),
    Column("uploaded_by", Text, nullable=False, comment="the key's id"),
    moment("uploaded_at", now=True),
    Index(None, "uploaded_at"),
)

# Photos that searches name and that no ad has: the indexer embeds them, and deletes the rows after
# an hour.
photo_searches = Table(
    "photo_searches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("url", Text),
    Column(
        "sha256", LargeBinary, comment="of the photo's bytes; those of a URL once they are fetched"
    ),
    moment("asked_at", now=True),
    moment("taken_at", nullable=True),
    Column("backbone", Text),
    Column("vector", HALFVEC),
    Column("reason", Text, comment="why it could not be embedded"),
    Column("detail", Text),
    Index(None, "sha256"),
    Index(None, "asked_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    key("id"),
    Column("name", Text, nullable=False, comment="whose it is, for people"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the secret: 256 random bits"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("catalogs", ARRAY(Text), comment="those that it may see; null: all"),
    Column("requests_per_s", REAL, nullable=False),
    moment("created_at", now=True),
    moment("expires_at", nullable=True),
    moment("revoked_at", nullable=True),
    moment("last_used_at", nullable=True),
    CheckConstraint("scopes <@ ARRAY['ingest', 'read', 'feedback', 'admin']", name="scopes"),
    Index(None, "name"),
)

# Counts by minute: one row per minute and session, written once a second. Statistics read only
# these rows, so their cost does not grow with the number of ads.
stream_minutes = Table(
    "stream_minutes",
    metadata,
    key("minute", MOMENT),
    key("run_id"),
    Column("events", Integer, nullable=False),
    Column("photos", Integer, nullable=False),
    Column("statuses", JSONB, nullable=False, comment="ads by status"),
    Column("labels", JSONB, nullable=False, comment="by task: ads by label, the live release's"),
    Column("failures", JSONB, nullable=False, comment="photos and events by reason"),
    Column("latencies", JSONB, nullable=False, comment="by stage: counts by bucket"),
    moment("updated_at", now=True),
)

# What the installed tasks answer: written by sessions and commands, which import the tasks.
tasks = Table(
    "tasks",
    metadata,
    key("name"),
    Column("asset", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("answer", JSONB, nullable=False, comment="JSON Schema of its label, score and details"),
    moment("updated_at", now=True),
)
