"""Mark the timings of ads that waited for a session's start, so that latencies leave them out.

With a constant default the column is added without a rewrite, and code of the last version can
write rows while this is applied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "stage_timings",
        sa.Column(
            "waited_for_session",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="it was in Kafka before its session began to read, and no session read "
            "meanwhile",
        ),
        schema="lalafo",
    )


def downgrade() -> None:
    op.drop_column("stage_timings", "waited_for_session", schema="lalafo")
