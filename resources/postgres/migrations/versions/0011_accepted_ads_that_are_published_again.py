"""Remember how often an accepted ad was published again, and when to look at it again."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEX = "accepted_ads_recheck_at_idx"
COMMENT = "when to look again whether the topic has lost it; null: not needed"


def upgrade() -> None:
    # IF NOT EXISTS: the block below commits this, so another attempt may find it done.
    op.execute(
        "ALTER TABLE lalafo.accepted_ads "
        "ADD COLUMN IF NOT EXISTS republished int NOT NULL DEFAULT 0, "
        "ADD COLUMN IF NOT EXISTS recheck_at timestamptz"
    )
    op.execute(f"COMMENT ON COLUMN lalafo.accepted_ads.recheck_at IS '{COMMENT}'")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for transactions, and makes nobody wait
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{INDEX}")  # of a broken attempt
        op.execute(
            f"CREATE INDEX CONCURRENTLY {INDEX} ON lalafo.accepted_ads (recheck_at) "
            "WHERE recheck_at IS NOT NULL"
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{INDEX}")
    op.execute(
        "ALTER TABLE lalafo.accepted_ads DROP COLUMN IF EXISTS recheck_at, "
        "DROP COLUMN IF EXISTS republished"
    )
