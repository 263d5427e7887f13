"""Failures of a task for an ad, and what the installed tasks answer.

Sessions and commands write `tasks` when they start; the gateway, which imports no task, describes
the answers by it.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

OLD, NEW = "'event', 'photo', 'stream'", "'event', 'photo', 'stream', 'task'"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE IF NOT EXISTS lalafo.tasks (name text PRIMARY KEY, asset text NOT NULL, "
        "description text NOT NULL, answer jsonb NOT NULL, "
        "updated_at timestamptz NOT NULL DEFAULT now())"
    )
    op.execute(
        "COMMENT ON COLUMN lalafo.tasks.answer IS 'JSON Schema of its label, score and details'"
    )
    _allow(NEW)


def downgrade() -> None:
    op.execute("DELETE FROM lalafo.failures WHERE kind = 'task'")
    op.execute("DROP TABLE IF EXISTS lalafo.tasks")
    _allow(OLD)


def _allow(kinds: str) -> None:
    # NOT VALID: the rows that are there satisfy it, and are not read under the lock.
    op.execute(
        "ALTER TABLE lalafo.failures DROP CONSTRAINT failures_kind_check, "
        f"ADD CONSTRAINT failures_kind_check CHECK (kind IN ({kinds})) NOT VALID"
    )
    with op.get_context().autocommit_block():  # what is above is committed: its lock is released
        op.execute("ALTER TABLE lalafo.failures VALIDATE CONSTRAINT failures_kind_check")
