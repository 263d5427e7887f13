"""Keep the best labels of a prediction as two arrays instead of JSON text, for re-scores.

Sessions, tasks with other details, and rows of before this revision keep theirs in `details`. The
view has both in one form, so that readers need not know which. Adding a column without a default
changes no row.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# A score of 6 decimals has at most 6 significant digits, which `real` to `numeric` preserves. JSON
# has 0.0 and 1.0 with a decimal, like the details that sessions write.
TOP = """jsonb_build_object('top', (
    SELECT jsonb_agg(
        jsonb_build_array(
            r.manifest -> 'taxonomy' -> p.task -> best.label,
            CASE WHEN best.score IN (0, 1) THEN best.score::numeric(2, 1)
                ELSE best.score::numeric END
        ) ORDER BY best.place)
    FROM lalafo.releases AS r,
        unnest(p.top_labels, p.top_scores) WITH ORDINALITY AS best (label, score, place)
    WHERE r.name = p.release
))"""


def upgrade() -> None:
    op.alter_column("predictions", "details", server_default=sa.text("'{}'"), schema="lalafo")
    op.add_column(
        "predictions",
        sa.Column(
            "top_labels",
            postgresql.ARRAY(sa.Integer()),
            comment="indices of the best labels in the release's taxonomy of the task, best first; "
            "null: `details` has them, or the task has none",
        ),
        schema="lalafo",
    )
    op.add_column(
        "predictions",
        sa.Column(
            "top_scores", postgresql.ARRAY(postgresql.REAL()), comment="the scores of top_labels"
        ),
        schema="lalafo",
    )
    op.execute(
        "CREATE VIEW lalafo.predictions_with_details AS SELECT p.release, p.catalog, p.ad_id, "
        "p.task, p.revision, p.day, p.label, p.score, CASE WHEN p.top_labels IS NULL "
        f"THEN p.details ELSE p.details || {TOP} END AS details, p.run_id, p.scored_at "
        "FROM lalafo.predictions AS p"
    )


def downgrade() -> None:
    op.execute(
        f"UPDATE lalafo.predictions AS p SET details = p.details || {TOP} "
        "WHERE p.top_labels IS NOT NULL"
    )
    op.execute("DROP VIEW lalafo.predictions_with_details")
    op.drop_column("predictions", "top_scores", schema="lalafo")
    op.drop_column("predictions", "top_labels", schema="lalafo")
    op.alter_column("predictions", "details", server_default=None, schema="lalafo")
