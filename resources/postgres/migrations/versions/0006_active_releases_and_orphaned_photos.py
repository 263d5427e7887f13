"""Rename releases_in_force to active_releases, and photos_let_go to orphaned_photos.

Views keep the old names for code of the last version, which may read and write while this is
applied and until its sessions have handed over. A later revision drops them.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = {"releases_in_force": "active_releases", "photos_let_go": "orphaned_photos"}
CONSTRAINTS = {
    "releases_in_force": (
        "single_check",
        "candidate_fkey",
        "live_fkey",
        "previous_fkey",
        "announced_fkey",
        "pkey",
    ),
    "photos_let_go": ("sha256_fkey", "pkey"),
}
COMMENTS = {  # column: before, after
    "ads.day": (
        "UTC day of the first event received; for ever",
        "UTC day of the first event received; never changes",
    ),
    "active_releases.previous": (
        "live before: scored along, so that going back is a flip",
        "live before the last promotion; scored too, so that a rollback is a switch",
    ),
    "active_releases.announced": (
        "sessions load it, so that it can come in force without a pause",
        "sessions load it, so that it can become active without a pause",
    ),
    "release_days.completed_at": (
        "every ad of the day is scored under the release; null: some are owed",
        "every ad of the day is scored under the release; null: some are not",
    ),
    "accepted_ads.event": ("as it was owed to the topic", "as published to the topic"),
    "accepted_ads.digest": (
        "SHA-256 of what the caller meant",
        "SHA-256 of the canonical event",
    ),
}
KINDS = "'installed', 'proposed', 'withdrawn', 'promoted', 'retired', 'taken_back'"


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new, schema="lalafo")
        _rename_constraints(new, old, new)
        op.execute(f"CREATE VIEW lalafo.{old} AS SELECT * FROM lalafo.{new}")
    op.execute("ALTER INDEX lalafo.photos_let_go_since_idx RENAME TO orphaned_photos_since_idx")
    _allow(f"{KINDS}, 'rolled_back'")
    op.execute("UPDATE lalafo.release_changes SET kind = 'rolled_back' WHERE kind = 'taken_back'")
    for column, (_, after) in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN lalafo.{column} IS '{after}'")


def downgrade() -> None:
    for column, (before, _) in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN lalafo.{column} IS '{before}'")
    op.execute("UPDATE lalafo.release_changes SET kind = 'taken_back' WHERE kind = 'rolled_back'")
    _allow(KINDS)
    op.execute("ALTER INDEX lalafo.orphaned_photos_since_idx RENAME TO photos_let_go_since_idx")
    for old, new in TABLES.items():
        op.execute(f"DROP VIEW lalafo.{old}")
        op.rename_table(new, old, schema="lalafo")
        _rename_constraints(old, new, old)


def _rename_constraints(table: str, old: str, new: str) -> None:
    suffixes = CONSTRAINTS.get(old) or CONSTRAINTS[new]
    for suffix in suffixes:
        op.execute(f"ALTER TABLE lalafo.{table} RENAME CONSTRAINT {old}_{suffix} TO {new}_{suffix}")


def _allow(kinds: str) -> None:
    op.execute(
        "ALTER TABLE lalafo.release_changes DROP CONSTRAINT release_changes_kind_check, "
        f"ADD CONSTRAINT release_changes_kind_check CHECK (kind IN ({kinds}))"
    )
