"""Indexes for pages of ads of one category or of one rare status; made while others write."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

INDEXES = {
    "ads_catalog_category_received_at_ad_id_idx": (
        "lalafo.ads (catalog, category, received_at, ad_id)"
    ),
    "ads_catalog_status_received_at_ad_id_idx": (
        "lalafo.ads (catalog, status, received_at, ad_id) WHERE status <> 'scored'"
    ),
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
