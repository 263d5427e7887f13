"""Remember why a session failed, so that everything that reports on the stack can say it."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COMMENT = "why it failed, in one line; null: it has not"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE lalafo.sessions "
        "ADD COLUMN IF NOT EXISTS error text, "
        "ADD COLUMN IF NOT EXISTS failed_at timestamptz"
    )
    op.execute(f"COMMENT ON COLUMN lalafo.sessions.error IS '{COMMENT}'")


def downgrade() -> None:
    op.execute(
        "ALTER TABLE lalafo.sessions DROP COLUMN IF EXISTS failed_at, DROP COLUMN IF EXISTS error"
    )
