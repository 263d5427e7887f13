"""Sellers of ads; the vectors of ads for search, and the ads whose vectors are to be renewed.

`commit_batch` has another overload with these. Code of the last version calls the one before.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLES = (
    "ALTER TABLE lalafo.ads ADD COLUMN IF NOT EXISTS seller text",
    "COMMENT ON COLUMN lalafo.ads.seller IS 'the catalog''s id of the seller; null: not given'",
    """
    CREATE TABLE lalafo.vector_indexes (
        backbone text NOT NULL PRIMARY KEY,
        dimension integer NOT NULL,
        partition text NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        ready_at timestamptz,
        CONSTRAINT vector_indexes_state_check CHECK (state IN ('building', 'catching_up', 'ready'))
    )
    """,
    "COMMENT ON COLUMN lalafo.vector_indexes.dimension IS 'numbers of a vector'",
    "COMMENT ON COLUMN lalafo.vector_indexes.partition IS 'of ad_vectors: a table''s name'",
    """
    CREATE TABLE lalafo.ad_vectors (
        backbone text NOT NULL,
        catalog text NOT NULL,
        ad_id text NOT NULL,
        revision bigint NOT NULL,
        category text COLLATE "C",
        price numeric(17, 2),
        currency text,
        seller text,
        received_at timestamptz NOT NULL,
        vector halfvec NOT NULL,
        PRIMARY KEY (catalog, ad_id, revision, backbone)
    ) PARTITION BY LIST (backbone)
    """,
    "COMMENT ON COLUMN lalafo.ad_vectors.vector IS "
    "'the mean of the unit vectors of the ad''s photos, of unit length'",
    "CREATE INDEX ad_vectors_catalog_category_idx ON lalafo.ad_vectors (catalog, category)",
    "CREATE INDEX ad_vectors_catalog_seller_idx ON lalafo.ad_vectors (catalog, seller)",
    "CREATE INDEX ad_vectors_catalog_currency_price_idx "
    "ON lalafo.ad_vectors (catalog, currency, price)",
    "CREATE INDEX ad_vectors_catalog_received_at_idx ON lalafo.ad_vectors (catalog, received_at)",
    """
    CREATE TABLE lalafo.vector_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        catalog text NOT NULL,
        ad_id text NOT NULL,
        queued_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)

# Parameters are named after the table's column, with the table's name in the singular before it.
# Those of one table have the same length, sorted by key: two writers of the same rows take locks
# in the same order, and can't deadlock.
COMMIT_BATCH = """
CREATE FUNCTION lalafo.commit_batch(
    of_run text, of_stream text, of_topic text, scored_topic text, of_releases text[],
    has_deferred boolean,
    lease_partition integer[], lease_epoch bigint[],
    offset_partition integer[], offset_next_offset bigint[], offset_epoch bigint[],
    photo_sha256 bytea[], photo_rendition_sha256 bytea[], photo_rendition_bytes integer[],
    photo_width smallint[], photo_height smallint[], photo_source_format text[],
    photo_source_width integer[], photo_source_height integer[], photo_source_bytes integer[],
    photo_note text[],
    embedding_backbone text[], embedding_sha256 bytea[], embedding_embedding halfvec[],
    embedding_release text[],
    ad_catalog text[], ad_ad_id text[], ad_revision bigint[], ad_day date[], ad_status text[],
    ad_title text[], ad_description text[], ad_category text[], ad_price numeric[],
    ad_currency text[], ad_event_id text[], ad_occurred_at timestamptz[],
    ad_kafka_at timestamptz[], ad_received_at timestamptz[], ad_partition integer[],
    ad_offset bigint[], ad_attributes jsonb[], ad_seller text[],
    timing_fetch_ms real[], timing_photos_ms real[], timing_queued_ms real[],
    timing_embed_ms real[], timing_predict_ms real[], timing_waited_for_session boolean[],
    message_key bytea[], message_value bytea[], message_traceparent text[],
    ad_photo_catalog text[], ad_photo_ad_id text[], ad_photo_position smallint[],
    ad_photo_url text[], ad_photo_sha256 bytea[], ad_photo_reason text[],
    ad_photo_revision bigint[],
    prediction_release text[], prediction_catalog text[], prediction_ad_id text[],
    prediction_task text[], prediction_revision bigint[], prediction_label text[],
    prediction_score real[], prediction_details jsonb[],
    photo_prediction_release text[], photo_prediction_sha256 bytea[],
    photo_prediction_task text[], photo_prediction_label text[], photo_prediction_score real[],
    photo_prediction_details jsonb[],
    failure_kind text[], failure_subject text[], failure_reason text[], failure_detail text[],
    failure_day date[], failure_catalog text[], failure_ad_id text[], failure_url text[],
    failure_partition integer[], failure_offset bigint[], failure_original bytea[],
    failure_original_key bytea[], failure_original_headers jsonb[]
) RETURNS TABLE (accepted_catalog text, accepted_ad_id text, accepted_day date, message_id bigint)
LANGUAGE plpgsql AS $$
DECLARE
    valid integer;
    active text[];
    catalogs text[];  -- of the accepted ads, with the next three
    ad_ids text[];
    days date[];
    updated boolean[];
    unreferenced bytea[];
BEGIN
    -- Until the end of the transaction no other session acquires these partitions.
    SELECT count(*) INTO valid FROM (
        SELECT held.partition, held.epoch FROM lalafo.leases AS held
        WHERE held.stream_id = of_stream AND held.topic = of_topic
        AND held.partition = ANY(lease_partition) ORDER BY held.partition FOR SHARE
    ) AS locked JOIN unnest(lease_partition, lease_epoch) AS own (partition, epoch)
    USING (partition, epoch);
    IF valid <> cardinality(lease_partition) THEN
        RAISE EXCEPTION 'a lease has another epoch' USING ERRCODE = 'LF001', DETAIL = (
            SELECT coalesce(jsonb_object_agg(held.partition, held.epoch), '{}')
            FROM lalafo.leases AS held
            WHERE held.stream_id = of_stream AND held.topic = of_topic
            AND held.partition = ANY(lease_partition));
    END IF;

    -- Until the end of the transaction no release is proposed, promoted or withdrawn.
    SELECT array_remove(ARRAY[held.live, held.candidate, held.previous], NULL) INTO active
    FROM lalafo.active_releases AS held FOR SHARE;
    IF coalesce(active, '{}') <> of_releases THEN
        RAISE EXCEPTION 'other releases are active'
        USING ERRCODE = 'LF002', DETAIL = to_jsonb(coalesce(active, '{}'));
    END IF;

    IF cardinality(photo_sha256) > 0 THEN
        INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height,
            source_format, source_width, source_height, source_bytes, note, run_id)
        SELECT new.*, of_run FROM unnest(photo_sha256, photo_rendition_sha256,
            photo_rendition_bytes, photo_width, photo_height, photo_source_format,
            photo_source_width, photo_source_height, photo_source_bytes, photo_note) AS new
        ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(embedding_sha256) > 0 THEN
        INSERT INTO lalafo.embeddings (backbone, sha256, embedding, release, run_id)
        SELECT new.*, of_run FROM unnest(embedding_backbone, embedding_sha256,
            embedding_embedding, embedding_release) AS new
        ON CONFLICT DO NOTHING;
    END IF;

    IF cardinality(photo_prediction_sha256) > 0 THEN
        -- A photo can't be deleted until the transaction ends: the sweep would leave its rows.
        INSERT INTO lalafo.photo_predictions (release, sha256, task, label, score, details, run_id)
        SELECT new.*, of_run FROM (SELECT held.sha256 FROM lalafo.photos AS held
            WHERE held.sha256 = ANY(photo_prediction_sha256) ORDER BY held.sha256 FOR KEY SHARE
        ) AS kept JOIN unnest(photo_prediction_release, photo_prediction_sha256,
            photo_prediction_task, photo_prediction_label, photo_prediction_score,
            photo_prediction_details) AS new (release, sha256, task, label, score, details)
            USING (sha256)
        ORDER BY new.sha256, new.release, new.task
        ON CONFLICT DO NOTHING;
    END IF;

    IF cardinality(ad_catalog) > 0 THEN
        -- A revision is accepted if it is the highest so far, or was requeued for scoring.
        WITH written AS (
            INSERT INTO lalafo.ads AS held (catalog, ad_id, revision, day, status, title,
                description, category, price, currency, event_id, occurred_at, kafka_at,
                received_at, partition, "offset", attributes, seller, stream_id, topic, run_id)
            SELECT new.*, of_stream, of_topic, of_run FROM unnest(ad_catalog, ad_ad_id,
                ad_revision, ad_day, ad_status, ad_title, ad_description, ad_category, ad_price,
                ad_currency, ad_event_id, ad_occurred_at, ad_kafka_at, ad_received_at,
                ad_partition, ad_offset, ad_attributes, ad_seller) AS new
            ON CONFLICT (catalog, ad_id) DO UPDATE SET
                revision = EXCLUDED.revision, status = EXCLUDED.status, title = EXCLUDED.title,
                description = EXCLUDED.description, category = EXCLUDED.category,
                price = EXCLUDED.price, currency = EXCLUDED.currency,
                event_id = EXCLUDED.event_id, occurred_at = EXCLUDED.occurred_at,
                kafka_at = EXCLUDED.kafka_at, received_at = EXCLUDED.received_at,
                stream_id = EXCLUDED.stream_id, topic = EXCLUDED.topic,
                partition = EXCLUDED.partition, "offset" = EXCLUDED."offset",
                attributes = EXCLUDED.attributes, seller = EXCLUDED.seller,
                run_id = EXCLUDED.run_id, updated_at = now()
            WHERE held.revision < EXCLUDED.revision
            OR (held.revision = EXCLUDED.revision AND held.status = 'received')
            RETURNING held.catalog, held.ad_id, held.day, held.xmax <> 0 AS updated
        )
        SELECT array_agg(written.catalog), array_agg(written.ad_id), array_agg(written.day),
            array_agg(written.updated) INTO catalogs, ad_ids, days, updated FROM written;
    END IF;

    IF true = ANY(updated) THEN
        WITH deleted AS (
            DELETE FROM lalafo.ad_photos AS held
            USING unnest(catalogs, ad_ids, updated) AS ad (catalog, ad_id, updated)
            WHERE ad.updated AND held.catalog = ad.catalog AND held.ad_id = ad.ad_id
            RETURNING held.sha256
        )
        SELECT array_agg(deleted.sha256) INTO unreferenced FROM deleted;
        DELETE FROM lalafo.predictions AS held
        USING unnest(catalogs, ad_ids, updated) AS ad (catalog, ad_id, updated)
        WHERE ad.updated AND held.catalog = ad.catalog AND held.ad_id = ad.ad_id;
        DELETE FROM lalafo.failures AS held
        USING unnest(catalogs, ad_ids, updated) AS ad (catalog, ad_id, updated)
        WHERE ad.updated AND held.catalog = ad.catalog AND held.ad_id = ad.ad_id;
    END IF;

    IF catalogs IS NOT NULL THEN
        IF cardinality(ad_photo_catalog) > 0 THEN
            INSERT INTO lalafo.ad_photos (catalog, ad_id, position, url, sha256, reason,
                revision, run_id)
            SELECT new.*, of_run FROM unnest(catalogs, ad_ids) AS ad (catalog, ad_id)
            JOIN unnest(ad_photo_catalog, ad_photo_ad_id, ad_photo_position, ad_photo_url,
                ad_photo_sha256, ad_photo_reason, ad_photo_revision)
                AS new (catalog, ad_id, position, url, sha256, reason, revision)
                USING (catalog, ad_id)
            ORDER BY new.catalog, new.ad_id, new.position
            ON CONFLICT DO NOTHING;
        END IF;
        IF cardinality(prediction_catalog) > 0 THEN
            -- Rows of an older revision may be there, from a re-score.
            INSERT INTO lalafo.predictions AS held (release, catalog, ad_id, task, revision,
                label, score, details, day, run_id)
            SELECT new.*, ad.day, of_run
            FROM unnest(catalogs, ad_ids, days) AS ad (catalog, ad_id, day)
            JOIN unnest(prediction_release, prediction_catalog, prediction_ad_id,
                prediction_task, prediction_revision, prediction_label, prediction_score,
                prediction_details) AS new (release, catalog, ad_id, task, revision, label,
                score, details) ON ad.catalog = new.catalog AND ad.ad_id = new.ad_id
            ORDER BY new.release, new.catalog, new.ad_id, new.task
            ON CONFLICT (release, catalog, ad_id, task) DO UPDATE SET
                revision = EXCLUDED.revision, day = EXCLUDED.day, label = EXCLUDED.label,
                score = EXCLUDED.score, details = EXCLUDED.details,
                top_labels = EXCLUDED.top_labels, top_scores = EXCLUDED.top_scores,
                run_id = EXCLUDED.run_id, scored_at = EXCLUDED.scored_at
            WHERE held.revision < EXCLUDED.revision;
        END IF;
        IF has_deferred THEN
            INSERT INTO lalafo.deferred_ads (catalog, ad_id, revision, day, traceparent)
            SELECT ad.catalog, ad.ad_id, new.revision, ad.day, new.traceparent
            FROM unnest(catalogs, ad_ids, days) AS ad (catalog, ad_id, day)
            JOIN unnest(ad_catalog, ad_ad_id, ad_revision, ad_status, message_traceparent)
                AS new (catalog, ad_id, revision, status, traceparent) USING (catalog, ad_id)
            WHERE new.status = 'scored';
        END IF;
        -- Adding an index locks the row of the active releases, so none is missed here.
        IF EXISTS (SELECT FROM lalafo.vector_indexes) THEN
            INSERT INTO lalafo.vector_changes (catalog, ad_id)
            SELECT ad.catalog, ad.ad_id FROM unnest(catalogs, ad_ids) AS ad (catalog, ad_id);
        END IF;
        INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at,
            polled_at, fetch_ms, photos_ms, queued_ms, embed_ms, predict_ms, waited_for_session)
        SELECT ad.catalog, ad.ad_id, new.revision, ad.day, of_run, new.kafka_at,
            new.received_at, new.fetch_ms, new.photos_ms, new.queued_ms, new.embed_ms,
            new.predict_ms, new.waited_for_session
        FROM unnest(catalogs, ad_ids, days) AS ad (catalog, ad_id, day)
        JOIN unnest(ad_catalog, ad_ad_id, ad_revision, ad_kafka_at, ad_received_at,
            timing_fetch_ms, timing_photos_ms, timing_queued_ms, timing_embed_ms,
            timing_predict_ms, timing_waited_for_session) AS new (catalog, ad_id, revision,
            kafka_at, received_at, fetch_ms, photos_ms, queued_ms, embed_ms, predict_ms,
            waited_for_session) USING (catalog, ad_id)
        ON CONFLICT DO NOTHING;
    END IF;

    -- Upkeep checks these photos for other references, and deletes those without any.
    unreferenced := unreferenced || photo_sha256;
    IF cardinality(unreferenced) > 0 THEN
        INSERT INTO lalafo.orphaned_photos (sha256)
        SELECT DISTINCT lost.sha256 FROM unnest(unreferenced) AS lost (sha256)
        WHERE lost.sha256 IS NOT NULL AND NOT EXISTS (
            SELECT FROM unnest(catalogs, ad_ids) AS ad (catalog, ad_id)
            JOIN unnest(ad_photo_catalog, ad_photo_ad_id, ad_photo_sha256)
                AS used (catalog, ad_id, sha256) USING (catalog, ad_id)
            WHERE used.sha256 = lost.sha256)
        ORDER BY lost.sha256
        ON CONFLICT (sha256) DO UPDATE SET since = now();
    END IF;

    IF cardinality(failure_kind) > 0 THEN
        INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, url,
            partition, "offset", original, original_key, original_headers, stream_id, topic,
            run_id)
        SELECT new.kind, new.subject, new.reason, new.detail, coalesce(ad.day, new.day),
            new.catalog, new.ad_id, new.url, new.partition, new."offset", new.original,
            new.original_key, new.original_headers, of_stream, of_topic, of_run
        FROM unnest(failure_kind, failure_subject, failure_reason, failure_detail, failure_day,
            failure_catalog, failure_ad_id, failure_url, failure_partition, failure_offset,
            failure_original, failure_original_key, failure_original_headers)
            AS new (kind, subject, reason, detail, day, catalog, ad_id, url, partition,
            "offset", original, original_key, original_headers)
        LEFT JOIN unnest(catalogs, ad_ids, days) AS ad (catalog, ad_id, day)
            ON ad.catalog = new.catalog AND ad.ad_id = new.ad_id
        WHERE new.kind = 'event' OR ad.catalog IS NOT NULL
        ORDER BY new.kind, new.subject
        ON CONFLICT DO NOTHING;
    END IF;

    INSERT INTO lalafo.stream_offsets AS held (stream_id, topic, partition, next_offset, epoch,
        run_id)
    SELECT of_stream, of_topic, moved.*, of_run
    FROM unnest(offset_partition, offset_next_offset, offset_epoch) AS moved
    ON CONFLICT (stream_id, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset,
        epoch = EXCLUDED.epoch, run_id = EXCLUDED.run_id, updated_at = now()
    WHERE held.next_offset < EXCLUDED.next_offset;

    RETURN QUERY
    WITH accepted AS (
        SELECT ad.catalog, ad.ad_id, ad.day, new.key, new.value, new.traceparent,
            nextval('lalafo.outbox_id_seq') AS id
        FROM unnest(catalogs, ad_ids, days) AS ad (catalog, ad_id, day)
        JOIN unnest(ad_catalog, ad_ad_id, message_key, message_value, message_traceparent)
            AS new (catalog, ad_id, key, value, traceparent) USING (catalog, ad_id)
        ORDER BY ad.catalog, ad.ad_id
    ), messages AS (
        INSERT INTO lalafo.outbox (id, topic, key, value, traceparent)
        OVERRIDING SYSTEM VALUE
        SELECT accepted.id, scored_topic, accepted.key, accepted.value, accepted.traceparent
        FROM accepted WHERE accepted.value IS NOT NULL
    )
    SELECT accepted.catalog, accepted.ad_id, accepted.day, accepted.id FROM accepted;
END
$$
"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    op.execute(COMMIT_BATCH)


def downgrade() -> None:
    op.execute(
        "DO $$ BEGIN EXECUTE 'DROP FUNCTION ' || (SELECT held.oid::regprocedure "
        "FROM pg_proc AS held WHERE held.proname = 'commit_batch' "
        "AND held.pronamespace = 'lalafo'::regnamespace "
        "AND 'ad_seller' = ANY(held.proargnames)); END $$"
    )
    op.execute("DROP TABLE lalafo.vector_changes")
    op.execute("DROP TABLE lalafo.ad_vectors")
    op.execute("DROP TABLE lalafo.vector_indexes")
    op.execute("ALTER TABLE lalafo.ads DROP COLUMN seller")
