"""Masks of photos that people have drawn."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE lalafo.mask_labels (
            sha256 bytea NOT NULL PRIMARY KEY
                REFERENCES lalafo.photos (sha256) ON DELETE CASCADE,
            height smallint NOT NULL,
            width smallint NOT NULL,
            counts text NOT NULL,
            given_by text NOT NULL,
            given_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        "COMMENT ON COLUMN lalafo.mask_labels.height IS 'of the mask and the rendition, pixels'"
    )
    op.execute(
        "COMMENT ON COLUMN lalafo.mask_labels.counts IS 'COCO''s compressed run-length encoding'"
    )


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE lalafo.mask_labels")
