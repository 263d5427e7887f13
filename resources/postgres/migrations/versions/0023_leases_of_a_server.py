"""Leases hold on the server that they were acquired on, and on no other history of it.

A standby that is promoted, and a restored backup, may lack the last commits, and the last leases.
A session that goes on there must not commit what comes behind the lost ones, nor under an epoch that
another session gets a second time. So a lease keeps the server's history, `commit_batch` refuses
those of another, and the next epoch there is far above all that were lost. Its arguments stay
those of 0022, so sessions of the last version call it too.
"""

from importlib import import_module

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# Alembic loads a revision without its package.
_LAST = import_module("resources.postgres.migrations.versions.0022_duplicates")
_BEFORE, _, _AFTER = _LAST.BEFORE.partition(_LAST.PLACE)
LAST: str = _BEFORE + _LAST.QUEUE + _LAST.PLACE + _AFTER

_LOCKED = "AND held.partition = ANY(lease_partition) ORDER BY held.partition FOR SHARE"
_DETAIL = "AND held.partition = ANY(lease_partition));"
_HERE = "AND (held.server IS NULL OR held.server = lalafo.server())"
COMMIT_BATCH: str = LAST.replace(
    _LOCKED,
    f"AND held.partition = ANY(lease_partition)\n        {_HERE}\n        "
    "ORDER BY held.partition FOR SHARE",
).replace(_DETAIL, f"AND held.partition = ANY(lease_partition)\n            {_HERE});")

EPOCHS_APART = 1_000_000
"""More than the leases that a lost tail of the log can have had."""

SERVER = """
CREATE FUNCTION lalafo.server() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/'
        || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function
    OR object_not_in_prerequisite_state THEN
    RETURN 'unknown';
END $$
"""
ACQUIRED = f"""
CREATE FUNCTION lalafo.lease_acquired() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    here text := lalafo.server();
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.epoch = OLD.epoch THEN
            RETURN NEW;
        END IF;
        IF OLD.server <> here THEN
            NEW.epoch := NEW.epoch + {EPOCHS_APART};
        END IF;
    END IF;
    NEW.server := here;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.execute(SERVER)
    op.execute(
        "COMMENT ON FUNCTION lalafo.server() IS 'the cluster and its timeline, which a promotion "
        "and a restore change; one constant where the provider hides them'"
    )
    op.execute("ALTER TABLE lalafo.leases ADD COLUMN server text")
    op.execute(
        "COMMENT ON COLUMN lalafo.leases.server IS "
        "'where it was acquired, see lalafo.server(); null: before revision 0023'"
    )
    op.execute(ACQUIRED)
    op.execute(
        "CREATE TRIGGER lease_acquired BEFORE INSERT OR UPDATE OF epoch ON lalafo.leases "
        "FOR EACH ROW EXECUTE FUNCTION lalafo.lease_acquired()"
    )
    op.execute(COMMIT_BATCH)


def downgrade() -> None:
    op.execute(LAST)
    op.execute("DROP TRIGGER lease_acquired ON lalafo.leases")
    op.execute("DROP FUNCTION lalafo.lease_acquired")
    op.execute("ALTER TABLE lalafo.leases DROP COLUMN server")
    op.execute("DROP FUNCTION lalafo.server")
