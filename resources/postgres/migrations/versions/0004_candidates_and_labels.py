"""Releases beside the live one, the days that each still owes, and labels from feedback.

Only adds: what ran before goes on while this is applied.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not now,
        server_default=NOW if now else None,
    )


def upgrade() -> None:
    op.add_column(
        "releases",
        sa.Column(
            "gate", postgresql.JSONB(), nullable=True, comment="its verdict; null until judged"
        ),
        schema="lalafo",
    )
    for name, comment in (
        ("previous", "live before: scored along, so that going back is a flip"),
        ("announced", "sessions load it, so that it can come in force without a pause"),
    ):
        op.add_column(
            "releases_in_force",
            sa.Column(name, sa.Text(), nullable=True, comment=comment),
            schema="lalafo",
        )
        op.create_foreign_key(
            f"releases_in_force_{name}_fkey",
            "releases_in_force",
            "releases",
            [name],
            ["name"],
            source_schema="lalafo",
            referent_schema="lalafo",
        )
    op.add_column(
        "sessions",
        sa.Column(
            "warm",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="releases that it has loaded",
        ),
        schema="lalafo",
    )
    op.create_table(
        "release_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("instead_of", sa.Text(), nullable=True, comment="live until then"),
        sa.Column("details", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'")),
        _moment("changed_at", now=True),
        sa.CheckConstraint(
            "kind IN ('installed', 'proposed', 'withdrawn', 'promoted', 'taken_back', 'retired')",
            name=op.f("release_changes_kind_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("release_changes_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "release_days",
        sa.Column("release", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), autoincrement=False, nullable=False),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="every ad of the day is scored under the release; null: some are owed",
        ),
        sa.ForeignKeyConstraint(
            ["release"],
            ["lalafo.releases.name"],
            name=op.f("release_days_release_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("release", "day", name=op.f("release_days_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "rescores",
        sa.Column("release", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, running, done, cancelled"),
        sa.Column("backfill_id", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column(
            "any_time", sa.Boolean(), nullable=False, comment="also outside the off-peak window"
        ),
        _moment("requested_at", now=True),
        _moment("started_at"),
        _moment("finished_at"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'cancelled')",
            name=op.f("rescores_state_check"),
        ),
        sa.ForeignKeyConstraint(
            ["release"],
            ["lalafo.releases.name"],
            name=op.f("rescores_release_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("release", "attempt", name=op.f("rescores_pkey")),
        schema="lalafo",
    )
    op.create_table(
        "labels",
        sa.Column("catalog", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("ad_id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("given_by", sa.Text(), nullable=False),
        _moment("given_at", now=True),
        sa.PrimaryKeyConstraint("catalog", "ad_id", "task", name=op.f("labels_pkey")),
        schema="lalafo",
    )


def downgrade() -> None:
    for table in ("labels", "rescores", "release_days", "release_changes"):
        op.drop_table(table, schema="lalafo")
    op.drop_column("sessions", "warm", schema="lalafo")
    for name in ("announced", "previous"):
        op.drop_column("releases_in_force", name, schema="lalafo")
    op.drop_column("releases", "gate", schema="lalafo")
