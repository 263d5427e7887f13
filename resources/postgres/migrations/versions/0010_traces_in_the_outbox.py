"""Add outbox.traceparent: the trace of what wrote a record, which its header carries on.

Nullable and without a default, so code of the last version can write rows while this is applied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "outbox",
        sa.Column(
            "traceparent",
            sa.Text(),
            nullable=True,
            comment="W3C trace context of the writer, for the record's header; null: not traced",
        ),
        schema="lalafo",
    )


def downgrade() -> None:
    op.drop_column("outbox", "traceparent", schema="lalafo")
