"""Index the days of failures without those of photos, which upkeep never deletes by age.

Upkeep deletes failures of records by day. A photo's failure stays with its ad, so the index on all
days had more and more entries that every run of upkeep read in vain.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

OLD, NEW = "failures_day_idx", "failures_day_of_records_idx"


def upgrade() -> None:
    _replace(OLD, NEW, "lalafo.failures (day) WHERE kind <> 'photo'")


def downgrade() -> None:
    _replace(NEW, OLD, "lalafo.failures (day)")


def _replace(old: str, new: str, what: str) -> None:
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for transactions, and makes nobody wait
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{new}")  # of a broken attempt
        op.execute(f"CREATE INDEX CONCURRENTLY {new} ON {what}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS lalafo.{old}")
