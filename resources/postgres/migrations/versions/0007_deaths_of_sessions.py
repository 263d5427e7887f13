"""Count the deaths of sessions by partition and offset, so that what kills them can be stepped over.

Code of the last version acquires and releases leases without `released`: its releases then count as
deaths, which does nothing but read some records one at a time.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE lalafo.leases ADD COLUMN released boolean NOT NULL DEFAULT true")
    op.execute(
        "COMMENT ON COLUMN lalafo.leases.released IS "
        "'false while it is held, and if its holder died'"
    )
    op.execute(
        """
        CREATE TABLE lalafo.session_deaths (
            stream_id text NOT NULL,
            topic text NOT NULL,
            partition integer NOT NULL,
            "offset" bigint NOT NULL,
            deaths integer NOT NULL,
            died_at timestamptz NOT NULL,
            careful_from bigint,
            attempt bigint,
            attempt_epoch bigint,
            attempt_deaths integer NOT NULL DEFAULT 0,
            CONSTRAINT session_deaths_pkey PRIMARY KEY (stream_id, topic, partition)
        )
        """
    )
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN lalafo.session_deaths.{column} IS '{comment}'")


def downgrade() -> None:
    op.execute("DROP TABLE lalafo.session_deaths")
    op.execute("ALTER TABLE lalafo.leases DROP COLUMN released")


COMMENTS = {
    '"offset"': "committed when a session died last; -1: none",
    "deaths": "of sessions at this offset, each within an hour of the one before",
    "careful_from": "records from here on are read one at a time",
    "attempt": "the record that was alone in process last",
    "attempt_epoch": "the epoch in which it was",
    "attempt_deaths": "of sessions while it was alone in process",
}
