"""Keep the headers of a record that was rejected: a replay restores them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "failures",
        sa.Column(
            "original_headers",
            JSONB,
            comment="the record's headers, [key, value] each, where the whole was refused",
        ),
        schema="lalafo",
    )


def downgrade() -> None:
    op.drop_column("failures", "original_headers", schema="lalafo")
