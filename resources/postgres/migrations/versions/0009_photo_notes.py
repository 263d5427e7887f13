"""Add photos.note: what a reader should know about a photo that was used."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "photos",
        sa.Column(
            "note",
            sa.Text(),
            comment="photo_incomplete: the file lacked its end; else null",
        ),
        schema="lalafo",
    )


def downgrade() -> None:
    op.drop_column("photos", "note", schema="lalafo")
