"""The first tables: ads and photos, what models said of them, and how far the stream got."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "ads",
        sa.Column("catalog", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ad_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column(
            "revision",
            sa.BigInteger(),
            nullable=False,
            comment="the seller system's; the higher wins",
        ),
        sa.Column(
            "day",
            sa.Date(),
            nullable=False,
            comment="UTC day of the first event received; for ever",
        ),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="scored, unscored, no_photos, deleted"
        ),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column(
            "category",
            sa.Text(),
            nullable=True,
            comment="as the seller filed it: a label, not a prediction",
        ),
        sa.Column("price", sa.Numeric(precision=17, scale=2), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kafka_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("catalog", "ad_id", name=op.f("ads_pkey")),
        schema="lalafo",
    )
    op.create_index(op.f("ads_day_idx"), "ads", ["day"], unique=False, schema="lalafo")
    op.create_table(
        "failures",
        sa.Column("kind", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("catalog", sa.Text(), nullable=True),
        sa.Column("ad_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "original",
            sa.LargeBinary(),
            nullable=True,
            comment="the record's value, where the whole was refused",
        ),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "kind IN ('event', 'photo', 'stream')", name=op.f("failures_kind_check")
        ),
        sa.PrimaryKeyConstraint("kind", "subject", name=op.f("failures_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("failures_catalog_ad_id_idx"),
        "failures",
        ["catalog", "ad_id"],
        unique=False,
        schema="lalafo",
    )
    op.create_index(op.f("failures_day_idx"), "failures", ["day"], unique=False, schema="lalafo")
    op.create_table(
        "leases",
        sa.Column("stream_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("topic", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "epoch",
            sa.BigInteger(),
            nullable=False,
            comment="a commit under an older one is refused",
        ),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=False),
        sa.Column("backend_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "acquired_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "topic", "partition", name=op.f("leases_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "photos",
        sa.Column("sha256", sa.LargeBinary(), autoincrement=False, nullable=False),
        sa.Column("rendition_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("rendition_bytes", sa.Integer(), nullable=False),
        sa.Column("width", sa.SmallInteger(), nullable=False, comment="of the rendition, pixels"),
        sa.Column("height", sa.SmallInteger(), nullable=False),
        sa.Column("source_format", sa.Text(), nullable=False),
        sa.Column("source_width", sa.Integer(), nullable=False),
        sa.Column("source_height", sa.Integer(), nullable=False),
        sa.Column("source_bytes", sa.Integer(), nullable=False),
        sa.Column(
            "thumbnail_sha256",
            sa.LargeBinary(),
            nullable=True,
            comment="made off the hot path; null until then",
        ),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("photos_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "predictions",
        sa.Column("release", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("catalog", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ad_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "scored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint(
            "release", "catalog", "ad_id", "task", name=op.f("predictions_pkey")
        ),
        schema="lalafo",
        postgresql_partition_by="LIST (release)",
    )
    op.create_table(
        "releases",
        sa.Column("name", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False, comment="the key of its embeddings"),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("releases_pkey")),
        sa.UniqueConstraint("digest", name=op.f("releases_digest_key")),
        schema="lalafo",
    )
    op.create_table(
        "stage_timings",
        sa.Column("catalog", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ad_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kafka_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "photos_ms", sa.REAL(), nullable=False, comment="fetch, check, rendition and store"
        ),
        sa.Column("embed_ms", sa.REAL(), nullable=False),
        sa.Column("predict_ms", sa.REAL(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("catalog", "ad_id", "revision", name=op.f("stage_timings_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("stage_timings_day_idx"), "stage_timings", ["day"], unique=False, schema="lalafo"
    )
    op.create_table(
        "stream_offsets",
        sa.Column("stream_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("topic", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "next_offset", sa.BigInteger(), nullable=False, comment="the first not yet committed"
        ),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "stream_id", "topic", "partition", name=op.f("stream_offsets_pkey")
        ),
        schema="lalafo",
    )
    op.create_table(
        "ad_photos",
        sa.Column("catalog", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ad_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="why there is no photo; null where there is one",
        ),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(sha256 IS NULL) <> (reason IS NULL)", name=op.f("ad_photos_photo_or_reason_check")
        ),
        sa.ForeignKeyConstraint(
            ["sha256"], ["lalafo.photos.sha256"], name=op.f("ad_photos_sha256_fkey")
        ),
        sa.PrimaryKeyConstraint("catalog", "ad_id", "position", name=op.f("ad_photos_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("ad_photos_sha256_idx"), "ad_photos", ["sha256"], unique=False, schema="lalafo"
    )
    op.create_table(
        "embeddings",
        sa.Column("backbone", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False, comment="unit length"),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["sha256"],
            ["lalafo.photos.sha256"],
            name=op.f("embeddings_sha256_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("backbone", "sha256", name=op.f("embeddings_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("embeddings_sha256_idx"), "embeddings", ["sha256"], unique=False, schema="lalafo"
    )
    op.create_table(
        "releases_in_force",
        sa.Column("one_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("live", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=True),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("one_row", name=op.f("releases_in_force_single_check")),
        sa.ForeignKeyConstraint(
            ["candidate"], ["lalafo.releases.name"], name=op.f("releases_in_force_candidate_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["live"], ["lalafo.releases.name"], name=op.f("releases_in_force_live_fkey")
        ),
        sa.PrimaryKeyConstraint("one_row", name=op.f("releases_in_force_pkey")),
        schema="lalafo",
    )


def downgrade() -> None:
    op.drop_table("releases_in_force", schema="lalafo")
    op.drop_index(op.f("embeddings_sha256_idx"), table_name="embeddings", schema="lalafo")
    op.drop_table("embeddings", schema="lalafo")
    op.drop_index(op.f("ad_photos_sha256_idx"), table_name="ad_photos", schema="lalafo")
    op.drop_table("ad_photos", schema="lalafo")
    op.drop_table("stream_offsets", schema="lalafo")
    op.drop_index(op.f("stage_timings_day_idx"), table_name="stage_timings", schema="lalafo")
    op.drop_table("stage_timings", schema="lalafo")
    op.drop_table("releases", schema="lalafo")
    op.drop_table("predictions", schema="lalafo")
    op.drop_table("photos", schema="lalafo")
    op.drop_table("leases", schema="lalafo")
    op.drop_index(op.f("failures_day_idx"), table_name="failures", schema="lalafo")
    op.drop_index(op.f("failures_catalog_ad_id_idx"), table_name="failures", schema="lalafo")
    op.drop_table("failures", schema="lalafo")
    op.drop_index(op.f("ads_day_idx"), table_name="ads", schema="lalafo")
    op.drop_table("ads", schema="lalafo")
