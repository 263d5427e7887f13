"""Hashes of photos in longer words, which PostgreSQL computes; details of photos; keys of titles.

The keys of 0022 were words of 16 bits: of a million hashes 15 had each of 272 keys. `keys` stays
for finders of the last version, which fill it; nothing reads it any more.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

NOTE = "photo_incomplete: the file lacked its end; else null"
NOTES = "photo_incomplete: the file lacked its end; photo_blank: one colour; else null"
TITLES = "compared_ads_catalog_title_key_received_at_idx"
INDEX = "photo_hashes_words_idx"
# As `stored_keys` of ops/duplicates/look_up.py: 4 words of 22 bits, 8 of 21.
PLACES = [(22 * word, 22) for word in range(4)] + [(88 + 21 * word, 21) for word in range(8)]
LEAST_QUALITY = 50
WORDS = ", ".join(
    f"{number << 22} + substring(pdq from {begin + 1} for {size})::bit({size})::integer"
    for number, (begin, size) in enumerate(PLACES)
)
SHORT_WORDS = ", ".join(
    f"{number << 16} + substring(pdq from {16 * number + 1} for 16)::bit(16)::integer"
    for number in range(16)
)
EXPRESSION = f"CASE WHEN quality >= {LEAST_QUALITY} THEN ARRAY[{WORDS}] ELSE '{{}}'::integer[] END"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE lalafo.photo_hashes ALTER COLUMN keys SET DEFAULT '{}', "
        f"ADD COLUMN words integer[] NOT NULL GENERATED ALWAYS AS ({EXPRESSION}) STORED, "
        "ADD COLUMN details bytea"
    )
    # They don't compress, and a look-up by words does not read them.
    op.execute("ALTER TABLE lalafo.photo_hashes ALTER COLUMN details SET STORAGE EXTERNAL")
    for column, comment in (
        ("keys", "words of 16 bits, for finders of the version before 0024"),
        ("words", "what near hashes are found by; none where there is too little detail"),
        ("details", "binary features, to see which photos are worth a comparison"),
    ):
        op.execute(f"COMMENT ON COLUMN lalafo.photo_hashes.{column} IS '{comment}'")
    op.execute("DROP INDEX lalafo.photo_hashes_keys_idx")
    # A list of pending entries would be read by every search.
    op.execute(
        f"CREATE INDEX {INDEX} ON lalafo.photo_hashes USING gin (words) WITH (fastupdate = off)"
    )
    op.execute(f"COMMENT ON COLUMN lalafo.photos.note IS '{NOTES}'")
    op.execute("ALTER TABLE lalafo.compared_ads ADD COLUMN title_key bigint")
    op.execute(
        "COMMENT ON COLUMN lalafo.compared_ads.title_key IS "
        "'equal for titles of the same words; null: of too few, or not computed yet'"
    )
    op.execute(
        f"CREATE INDEX {TITLES} ON lalafo.compared_ads (catalog, title_key, received_at) "
        "WHERE title_key IS NOT NULL"
    )


def downgrade() -> None:
    op.execute(f"COMMENT ON COLUMN lalafo.photos.note IS '{NOTE}'")
    op.execute("ALTER TABLE lalafo.compared_ads DROP COLUMN title_key")
    op.execute(f"DROP INDEX lalafo.{INDEX}")
    op.execute(
        "ALTER TABLE lalafo.photo_hashes DROP COLUMN words, DROP COLUMN details, "
        "ALTER COLUMN keys DROP DEFAULT"
    )
    op.execute(
        f"UPDATE lalafo.photo_hashes SET keys = ARRAY[{SHORT_WORDS}] "
        f"WHERE quality >= {LEAST_QUALITY} AND cardinality(keys) = 0"
    )
    op.execute(
        "CREATE INDEX photo_hashes_keys_idx ON lalafo.photo_hashes USING gin (keys) "
        "WITH (fastupdate = off)"
    )
