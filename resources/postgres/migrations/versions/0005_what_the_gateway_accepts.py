"""What the gateway accepts, whom it serves, and what happened by the minute.

Only adds: what ran before goes on while this is applied. Indexes are made while others write.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
INDEXES = {
    "ads_catalog_received_at_ad_id_idx": "lalafo.ads (catalog, received_at, ad_id)",
    "failures_failed_at_kind_subject_idx": "lalafo.failures (failed_at, kind, subject)",
    "failures_catalog_failed_at_kind_subject_idx": (
        "lalafo.failures (catalog, failed_at, kind, subject)"
    ),
}


def _key(name: str, kind: sa.types.TypeEngine[Any] | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Text() if kind is None else kind, autoincrement=False, nullable=False)


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not now,
        server_default=NOW if now else None,
    )


def _json(name: str, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(), nullable=False, comment=comment)


def upgrade() -> None:
    # First, since it commits: what comes after is one transaction, and can be tried again.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for transactions, and makes nobody wait
        for name, what in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{name}")  # of a broken attempt
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
    op.create_table(
        "accepted_ads",
        _key("catalog"),
        _key("ad_id"),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        _json("event", "as it was owed to the topic"),
        sa.Column(
            "digest",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of what the caller meant",
        ),
        sa.Column("accepted_by", sa.Text(), nullable=False, comment="the key's id"),
        _moment("accepted_at", now=True),
        sa.PrimaryKeyConstraint("catalog", "ad_id", name=op.f("accepted_ads_pkey")),
        sa.Index("accepted_ads_accepted_at_idx", "accepted_at"),
        schema="lalafo",
    )
    op.create_table(
        "idempotency_keys",
        _key("api_key"),
        _key("idempotency_key"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the request"),
        _json("answer"),
        _moment("created_at", now=True),
        sa.PrimaryKeyConstraint("api_key", "idempotency_key", name=op.f("idempotency_keys_pkey")),
        sa.Index("idempotency_keys_created_at_idx", "created_at"),
        schema="lalafo",
    )
    op.create_table(
        "uploads",
        _key("sha256", sa.LargeBinary()),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_by", sa.Text(), nullable=False, comment="the key's id"),
        _moment("uploaded_at", now=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("uploads_pkey")),
        sa.Index("uploads_uploaded_at_idx", "uploaded_at"),
        schema="lalafo",
    )
    op.create_table(
        "api_keys",
        _key("id"),
        sa.Column("name", sa.Text(), nullable=False, comment="whose it is, for people"),
        sa.Column(
            "hash",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the secret: 256 random bits",
        ),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "catalogs",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="those that it may see; null: all",
        ),
        sa.Column("requests_per_s", sa.REAL(), nullable=False),
        _moment("created_at", now=True),
        _moment("expires_at"),
        _moment("revoked_at"),
        _moment("last_used_at"),
        sa.CheckConstraint(
            "scopes <@ ARRAY['ingest', 'read', 'feedback', 'admin']",
            name=op.f("api_keys_scopes_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.Index("api_keys_name_idx", "name"),
        schema="lalafo",
    )
    op.create_table(
        "stream_minutes",
        _key("minute", sa.DateTime(timezone=True)),
        _key("run_id"),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        _json("statuses", "ads by status"),
        _json("labels", "by task: ads by label, the live release's"),
        _json("failures", "photos and events by reason"),
        _json("latencies", "by stage: counts by bucket"),
        _moment("updated_at", now=True),
        sa.PrimaryKeyConstraint("minute", "run_id", name=op.f("stream_minutes_pkey")),
        schema="lalafo",
    )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in reversed(INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{name}")
    for table in ("stream_minutes", "api_keys", "uploads", "idempotency_keys", "accepted_ads"):
        op.drop_table(table, schema="lalafo")
