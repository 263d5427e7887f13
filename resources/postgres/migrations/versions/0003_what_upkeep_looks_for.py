"""Indexes for what upkeep looks for every quarter of an hour; made while others write."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "photos_rendition_sha256_idx": "lalafo.photos (rendition_sha256)",
    "photos_thumbnail_sha256_idx": (
        "lalafo.photos (thumbnail_sha256) WHERE thumbnail_sha256 IS NOT NULL"
    ),
    "ads_to_retry_idx": "lalafo.ads (updated_at) WHERE status IN ('received', 'unscored')",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for transactions, and makes nobody wait
        for name, what in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{name}")  # of a broken attempt
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in reversed(INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{name}")
