"""The operations of the gateway: look-up, lists, statistics and feedback.

The statements are the gateway's own, executed as it does: prepared, in autocommit mode.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.backends.notices import read_notices
from gateway.intake import feedback
from gateway.reads.ad import READ_AD
from gateway.reads.ad import parameters as ad_parameters
from gateway.reads.ad_list import ads_query
from gateway.reads.failure_list import failures_query
from gateway.reads.pages import PageRequest
from gateway.schemas.ads import Source
from gateway.statistics.queries import read_statistics
from lalafo_assets.bench.gateway.fill import DAYS, ad_id
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.growth.operations import Operation, Place, numbers
from ops.events.feedback import Label
from ops.types import AdKey

LOOKUPS = 201
_TOPIC = "ads"
_NO_FILTERS = {"status": None}


def gateway_operations(place: Place) -> Iterator[Operation]:
    """The operations in the order in which they are timed."""
    middle = datetime.now(UTC) - timedelta(days=DAYS / 2)
    yield _lookup(place)
    yield _page(place, "list_first", _request(None, _NO_FILTERS))
    yield _page(place, "list_middle", _request([CATALOG], _NO_FILTERS, middle))
    yield _page(place, "list_by_label", _request([CATALOG], {"label": "category 05"}))
    failures = PageRequest(
        catalogs=None, limit=50, cursor=None, filters={"kind": None, "reason": None}
    )
    yield _statement(place, "list_failures", *failures_query(failures))
    yield Operation("statistics", lambda _: _read_statistics(place))
    yield Operation("notices", lambda _: _read_notices(place))
    yield _feedback(place)


def _lookup(place: Place) -> Operation:
    chosen = list(numbers(place.ads, 5))
    ids = [ad_id(number) for number in chosen] * (1 + LOOKUPS // len(chosen))

    def read(number: int) -> None:
        values = ad_parameters(AdKey(CATALOG, ids[number]), "http://dagster.example")
        place.connection.execute(READ_AD, values, prepare=True).fetchall()

    return Operation("lookup", read, times=LOOKUPS - 20, warm=20)


def _request(
    catalogs: list[str] | None, filters: dict[str, Any], until: datetime | None = None
) -> PageRequest:
    return PageRequest(catalogs=catalogs, limit=50, cursor=None, filters=filters, until=until)


def _page(place: Place, name: str, page: PageRequest) -> Operation:
    return _statement(place, name, *ads_query(page))


def _statement(place: Place, name: str, statement: str, values: dict[str, Any]) -> Operation:
    return Operation(
        name, lambda _: place.connection.execute(statement, values, prepare=True).fetchall()
    )


def _read_statistics(place: Place) -> None:
    def source(name: str) -> Source:
        return Source(id=name, url=None)

    with place.connection.transaction(), place.connection.cursor() as cursor:
        read_statistics(
            cursor,
            minutes=60,
            topic=_TOPIC,
            log=None,
            store_problem=None,
            run=source,
            release=source,
        )


def _read_notices(place: Place) -> None:
    with place.connection.cursor() as cursor:
        read_notices(cursor, topic=_TOPIC, stream_id="bench")


def _feedback(place: Place) -> Operation:
    ids = [ad_id(number) for number in numbers(place.ads, 6)]

    def give(number: int) -> None:
        key = AdKey(CATALOG, ids[number])
        label = Label(key, "category", "category 07", "moderator-7", datetime.now(UTC))
        values = feedback.parameters(label, f"{_TOPIC}.feedback")
        values |= {"by": "bench", "idempotency_key": f"key-{number}", "traceparent": None}
        (row,) = place.connection.execute(feedback.GIVE, values, prepare=True).fetchall()
        assert row[3] is not None, f"no label was stored for {key}"

    # The relay deletes a record as soon as Kafka has it.
    return Operation("feedback", give, lambda _: place.execute("DELETE FROM lalafo.outbox"))
