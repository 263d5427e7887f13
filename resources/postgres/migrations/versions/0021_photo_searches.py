"""Photos that searches name and that no ad has: the indexer embeds them."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE lalafo.photo_searches (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        url text,
        sha256 bytea,
        asked_at timestamptz NOT NULL DEFAULT now(),
        taken_at timestamptz,
        backbone text,
        vector halfvec,
        reason text,
        detail text
    )
    """,
    "COMMENT ON COLUMN lalafo.photo_searches.sha256 IS "
    "'of the photo''s bytes; those of a URL once they are fetched'",
    "COMMENT ON COLUMN lalafo.photo_searches.reason IS 'why it could not be embedded'",
    "CREATE INDEX photo_searches_sha256_idx ON lalafo.photo_searches (sha256)",
    "CREATE INDEX photo_searches_asked_at_idx ON lalafo.photo_searches (asked_at)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE lalafo.photo_searches")
