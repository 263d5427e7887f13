"""Indexes for what upkeep looks for every quarter of an hour."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX photos_rendition_sha256_idx ON lalafo.photos (rendition_sha256)")
    op.execute(
        "CREATE INDEX photos_thumbnail_sha256_idx ON lalafo.photos (thumbnail_sha256) "
        "WHERE thumbnail_sha256 IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX ads_to_retry_idx ON lalafo.ads (updated_at) "
        "WHERE status IN ('received', 'unscored')"
    )


def downgrade() -> None:
    for name in ("ads_to_retry_idx", "photos_thumbnail_sha256_idx", "photos_rendition_sha256_idx"):
        op.execute(f"DROP INDEX lalafo.{name}")
