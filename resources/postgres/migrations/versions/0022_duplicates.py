"""Duplicates: hashes of photos, pairs and groups of ads, and the ads to look for duplicates of.

`commit_batch` queues the ads that it accepts while `duplicate_search` has its row; its arguments
stay those of 0020, so sessions of the last version call it too.
"""

from importlib import import_module

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# Alembic loads a revision without its package.
_LAST = import_module("resources.postgres.migrations.versions.0020_vectors_of_ads")
BEFORE: str = _LAST.COMMIT_BATCH.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
PLACE = "        INSERT INTO lalafo.stage_timings"
QUEUE = """\
        -- Adding this row locks the row of the active releases, so no ad is missed here.
        IF EXISTS (SELECT FROM lalafo.duplicate_search) THEN
            INSERT INTO lalafo.duplicate_changes (catalog, ad_id)
            SELECT ad.catalog, ad.ad_id FROM unnest(catalogs, ad_ids) AS ad (catalog, ad_id);
        END IF;
"""

TABLES = (
    """
    CREATE TABLE lalafo.duplicate_search (
        one_row boolean NOT NULL DEFAULT true PRIMARY KEY,
        started_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT duplicate_search_single_check CHECK (one_row)
    )
    """,
    """
    CREATE TABLE lalafo.duplicate_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        catalog text NOT NULL,
        ad_id text NOT NULL,
        queued_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE lalafo.compared_ads (
        catalog text NOT NULL,
        ad_id text NOT NULL,
        revision bigint NOT NULL,
        seller text,
        received_at timestamptz NOT NULL,
        photos bytea[] NOT NULL,
        common bytea[] NOT NULL,
        version integer NOT NULL,
        compared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (catalog, ad_id)
    )
    """,
    "COMMENT ON COLUMN lalafo.compared_ads.photos IS 'the SHA-256 of each usable one'",
    "COMMENT ON COLUMN lalafo.compared_ads.common IS "
    "'those of `photos` that too many ads had, and that were left out'",
    "COMMENT ON COLUMN lalafo.compared_ads.version IS 'of the comparison'",
    "CREATE INDEX compared_ads_catalog_seller_received_at_idx ON lalafo.compared_ads "
    "(catalog, seller, received_at) WHERE seller IS NOT NULL",
    """
    CREATE TABLE lalafo.photo_hashes (
        sha256 bytea NOT NULL PRIMARY KEY REFERENCES lalafo.photos (sha256) ON DELETE CASCADE,
        pdq bit(256) NOT NULL,
        quality smallint NOT NULL,
        keys integer[] NOT NULL,
        CONSTRAINT photo_hashes_keys_check CHECK (cardinality(keys) IN (0, 16))
    )
    """,
    "COMMENT ON COLUMN lalafo.photo_hashes.quality IS '0 to 100: how much detail there is'",
    "COMMENT ON COLUMN lalafo.photo_hashes.keys IS "
    "'what near hashes are found by; none where there is too little detail'",
    # A list of pending entries would be read by every search.
    "CREATE INDEX photo_hashes_keys_idx ON lalafo.photo_hashes USING gin (keys) "
    "WITH (fastupdate = off)",
    """
    CREATE TABLE lalafo.photo_pairs (
        sha256 bytea NOT NULL REFERENCES lalafo.photos (sha256) ON DELETE CASCADE,
        other_sha256 bytea NOT NULL REFERENCES lalafo.photos (sha256) ON DELETE CASCADE,
        verdict text NOT NULL,
        probability real NOT NULL,
        changes text[] NOT NULL,
        region jsonb,
        other_region jsonb,
        version integer NOT NULL,
        compared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (sha256, other_sha256),
        CONSTRAINT photo_pairs_order_check CHECK (sha256 < other_sha256),
        CONSTRAINT photo_pairs_verdict_check CHECK (verdict IN ('exact', 'altered', 'same_thing'))
    )
    """,
    "COMMENT ON COLUMN lalafo.photo_pairs.changes IS 'how one of the two was altered'",
    "COMMENT ON COLUMN lalafo.photo_pairs.region IS "
    "'four corners [x, y] of what both show, as shares of the width and height'",
    "COMMENT ON COLUMN lalafo.photo_pairs.version IS 'of the comparison'",
    "CREATE INDEX photo_pairs_other_sha256_idx ON lalafo.photo_pairs (other_sha256)",
    """
    CREATE TABLE lalafo.common_photos (
        catalog text NOT NULL,
        sha256 bytea NOT NULL REFERENCES lalafo.photos (sha256) ON DELETE CASCADE,
        since timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (catalog, sha256)
    )
    """,
    "CREATE INDEX common_photos_sha256_idx ON lalafo.common_photos (sha256)",
    """
    CREATE TABLE lalafo.ad_pairs (
        catalog text NOT NULL,
        ad_id text NOT NULL,
        other_id text NOT NULL,
        revision bigint NOT NULL,
        other_revision bigint NOT NULL,
        verdict text,
        probability real NOT NULL,
        reasons jsonb NOT NULL,
        raised_at timestamptz,
        compared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (catalog, ad_id, other_id),
        CONSTRAINT ad_pairs_order_check CHECK (ad_id COLLATE "C" < other_id COLLATE "C"),
        CONSTRAINT ad_pairs_verdict_check CHECK (verdict IN ('exact', 'altered', 'same_thing'))
    )
    """,
    "COMMENT ON COLUMN lalafo.ad_pairs.verdict IS "
    "'the best one of their photos; null: no photos of both are the same'",
    "COMMENT ON COLUMN lalafo.ad_pairs.probability IS 'that both are one ad'",
    "COMMENT ON COLUMN lalafo.ad_pairs.reasons IS '[outcome, weight] of each comparison'",
    "COMMENT ON COLUMN lalafo.ad_pairs.raised_at IS "
    "'when the event duplicate_found was written; null: it was not'",
    "CREATE INDEX ad_pairs_catalog_other_id_ad_id_idx ON lalafo.ad_pairs "
    "(catalog, other_id, ad_id)",
    "CREATE INDEX ad_pairs_raised_at_idx ON lalafo.ad_pairs (raised_at) "
    "WHERE raised_at IS NOT NULL",
    """
    CREATE TABLE lalafo.duplicate_labels (
        catalog text NOT NULL,
        ad_id text NOT NULL,
        other_id text NOT NULL,
        same boolean NOT NULL,
        given_by text NOT NULL,
        given_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (catalog, ad_id, other_id),
        CONSTRAINT duplicate_labels_order_check CHECK (ad_id COLLATE "C" < other_id COLLATE "C")
    )
    """,
    "CREATE INDEX duplicate_labels_catalog_other_id_ad_id_idx ON lalafo.duplicate_labels "
    "(catalog, other_id, ad_id)",
    """
    CREATE TABLE lalafo.ad_groups (
        catalog text NOT NULL,
        ad_id text NOT NULL,
        group_id text NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (catalog, ad_id)
    )
    """,
    "COMMENT ON COLUMN lalafo.ad_groups.group_id IS 'the id of the group''s smallest ad'",
    "CREATE INDEX ad_groups_catalog_group_id_idx ON lalafo.ad_groups (catalog, group_id)",
    "CREATE INDEX ad_groups_since_idx ON lalafo.ad_groups (since)",
)
DROPPED = (
    *("ad_groups", "duplicate_labels", "ad_pairs", "common_photos", "photo_pairs"),
    *("photo_hashes", "compared_ads", "duplicate_changes", "duplicate_search"),
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    before, place, after = BEFORE.partition(PLACE)
    op.execute(before + QUEUE + place + after)


def downgrade() -> None:
    op.execute(BEFORE)
    for table in DROPPED:
        op.execute(f"DROP TABLE lalafo.{table}")
