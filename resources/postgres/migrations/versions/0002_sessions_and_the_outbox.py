"""Sessions that stand by and hand over, the outbox, and what upkeep needs to know."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("run_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="warming, ready, leaving"),
        sa.Column(
            "code_version", sa.Text(), nullable=False, comment="another one hands over to its own"
        ),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("metrics_url", sa.Text(), nullable=False, comment="empty: it serves none"),
        sa.Column("backend_pid", sa.Integer(), nullable=False),
        sa.Column("backend_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('warming', 'ready', 'leaving')", name=op.f("sessions_state_check")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("sessions_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("sessions_stream_id_topic_idx"),
        "sessions",
        ["stream_id", "topic"],
        unique=False,
        schema="lalafo",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "photos_let_go",
        sa.Column("sha256", sa.LargeBinary(), autoincrement=False, nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["sha256"],
            ["lalafo.photos.sha256"],
            name=op.f("photos_let_go_sha256_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("photos_let_go_pkey")),
        schema="lalafo",
    )
    op.create_index(
        op.f("photos_let_go_since_idx"), "photos_let_go", ["since"], unique=False, schema="lalafo"
    )
    op.add_column(
        "failures",
        sa.Column(
            "original_key",
            sa.LargeBinary(),
            nullable=True,
            comment="the record's key, where the whole was refused",
        ),
        schema="lalafo",
    )
    op.add_column(
        "failures",
        sa.Column(
            "replayed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when a person sent the original again",
        ),
        schema="lalafo",
    )
    for name, comment in (
        ("fetch_ms", "until the last photo's bytes were here"),
        ("queued_ms", "ready and waiting for the model"),
    ):
        op.add_column(
            "stage_timings",
            sa.Column(
                name, sa.REAL(), server_default=sa.text("0"), nullable=False, comment=comment
            ),
            schema="lalafo",
        )
    op.alter_column(
        "stage_timings",
        "photos_ms",
        existing_type=sa.REAL(),
        existing_nullable=False,
        comment="check, rendition, store, decode",
        existing_comment="fetch, check, rendition and store",
        schema="lalafo",
    )


def downgrade() -> None:
    # In the order in which commits write to them: in another it would never have its locks.
    op.execute("LOCK TABLE lalafo.photos, lalafo.failures, lalafo.stage_timings")
    op.drop_column("failures", "replayed_at", schema="lalafo")
    op.drop_column("failures", "original_key", schema="lalafo")
    op.alter_column(
        "stage_timings",
        "photos_ms",
        existing_type=sa.REAL(),
        existing_nullable=False,
        comment="fetch, check, rendition and store",
        existing_comment="check, rendition, store, decode",
        schema="lalafo",
    )
    op.drop_column("stage_timings", "queued_ms", schema="lalafo")
    op.drop_column("stage_timings", "fetch_ms", schema="lalafo")
    op.drop_index(op.f("photos_let_go_since_idx"), table_name="photos_let_go", schema="lalafo")
    op.drop_table("photos_let_go", schema="lalafo")
    op.drop_table("outbox", schema="lalafo")
    op.drop_index(op.f("sessions_stream_id_topic_idx"), table_name="sessions", schema="lalafo")
    op.drop_table("sessions", schema="lalafo")
