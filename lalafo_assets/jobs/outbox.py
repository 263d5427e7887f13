"""Upkeep's duties that publish: records left in the outbox, and ads that the topic has lost."""

import time
from contextlib import closing

import dagster as dg
from pydantic import Field

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import report_counts
from resources.dagster.resources import AdStreamResource, DatabaseResource
from resources.kafka.outbox import relay, waiting
from resources.settings import load_settings
from resources.upkeep.lost_ads import LostAds, topic_ends

LOST_ADS_S = 30.0
"""Seconds to look for lost ads in one run. Every gateway looks too, all the time; this one is for
a deployment whose gateways have no Kafka."""

OUTBOX_CHUNK_ROWS = 500
OUTBOX_CHUNKS = 100


class OutboxConfig(dg.Config):
    """Which records of the outbox are published."""

    older_than_s: float = Field(
        default=60.0,
        ge=0,
        description="Publish records at least this many seconds old. Sessions publish newer ones.",
    )


@dg.op(
    description="Puts the events of accepted ads that the topic has lost into the outbox again. "
    "Ads that only wait behind a backlog are left alone."
)
def republish_lost(
    context: dg.OpExecutionContext, database: DatabaseResource, ad_stream: AdStreamResource
) -> None:
    """Look at all accepted ads once, or for LOST_ADS_S."""
    lost, published, until = LostAds(load_settings().ads_topic), 0, time.monotonic() + LOST_ADS_S
    with plain_failures(), closing(database.open()) as db, ad_stream.open() as stream:
        while time.monotonic() < until and not lost.finished:
            published += lost.publish(db, lambda: topic_ends(stream))
            if lost.waiting:
                time.sleep(1)  # until the sessions have committed what was on the topic
    if published > 0:
        context.log.warning(f"{published} accepted ads were lost by the topic: published again")
    report_counts(context, published=published)


@dg.op(description="Publishes the records that sessions left in the outbox.")
def send_outbox(
    context: dg.OpExecutionContext,
    config: OutboxConfig,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
) -> None:
    """Publish records whose session died; connect to Kafka only if there are any."""
    sent = 0
    with plain_failures(), closing(database.open()) as db:
        if waiting(db, older_than_s=config.older_than_s) > 0:
            with ad_stream.open() as stream, stream.publisher() as publisher:
                for _ in range(OUTBOX_CHUNKS):
                    chunk_sent = relay(
                        db,
                        publisher,
                        older_than_s=config.older_than_s,
                        limit=OUTBOX_CHUNK_ROWS,
                    )
                    sent += chunk_sent
                    if chunk_sent < OUTBOX_CHUNK_ROWS:
                        break
        remaining = waiting(db, older_than_s=config.older_than_s)
    report_counts(context, sent=sent, remaining=remaining)
