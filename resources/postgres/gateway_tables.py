"""The tables of schema `lalafo` that the gateway writes, and the minutes that it reads.

As `tables.py`: natural keys, times in UTC. What the gateway has accepted is kept apart from `ads`,
which sessions alone write: an ad is what was committed of it, and beside it what is still owed.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from resources.postgres.tables import MOMENT, key, metadata, moment

# The highest revision that was accepted of an ad; upkeep removes it some time after `ads` has it.
accepted_ads = Table(
    "accepted_ads",
    metadata,
    key("catalog"),
    key("ad_id"),
    Column("revision", BigInteger, nullable=False),
    Column("event", JSONB, nullable=False, comment="as it was owed to the topic"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of what the caller meant"),
    Column("accepted_by", Text, nullable=False, comment="the key's id"),
    moment("accepted_at", now=True),
    Index(None, "accepted_at"),
)

# One answer a key and Idempotency-Key, for a day.
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

# Bytes that callers sent, in the store as `uploads`, until their rendition is there.
uploads = Table(
    "uploads",
    metadata,
    key("sha256", LargeBinary),
    Column("bytes", BigInteger, nullable=False),
    Column("uploaded_by", Text, nullable=False, comment="the key's id"),
    moment("uploaded_at", now=True),
    Index(None, "uploaded_at"),
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

# What sessions did, by minute: a row a minute and session, written once a second. Statistics read
# these alone, however many ads there are.
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
