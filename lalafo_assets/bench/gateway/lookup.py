"""What PostgreSQL says of the gateway's own statements: `EXPLAIN (ANALYZE)` of each, prepared.

Decides that what counts is planning and execution together, of a statement that the connection has
prepared, as the gateway's connections do; beside it what it costs where it is planned anew. Every
ad is asked for once before, so that no page comes from the disk.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from gateway.reads.ad import READ_AD, parameters
from gateway.reads.pages import PageRequest, ads_query, failures_query
from gateway.statistics.queries import ACCEPTED, MINUTES, MOST_ACCEPTED, MOST_WAITING, OUTBOX
from lalafo_assets.bench.gateway.fill import DAYS, FIRST, ad_id
from lalafo_assets.bench.gateway.place import Servers
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.harness.figures import percentile
from ops.errors import LalafoError
from ops.types import AdKey

ADS = 200
TIMES = 20  # of the lists and statistics
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_BEFORE_GENERIC = 6  # PostgreSQL plans a prepared statement anew five times before it settles


@dataclass(frozen=True, slots=True)
class Explained:
    """What one execution took, milliseconds, as PostgreSQL timed itself."""

    planning_ms: float
    execution_ms: float
    plan: Mapping[str, Any]

    @property
    def total_ms(self) -> float:
        """Both."""
        return self.planning_ms + self.execution_ms


class Prepared:
    """A statement with psycopg's named placeholders, prepared on a connection, to be explained."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, statement: str) -> None:
        self._cursor = psycopg.ClientCursor(connection)  # EXECUTE takes no bound values
        self._name, self.statement = name, statement
        self.names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
        numbered = _PLACEHOLDER.sub(lambda m: f"${self.names.index(m[1]) + 1}", statement)
        self._cursor.execute(f"PREPARE {name} AS {numbered.replace('%%', '%')}")

    def explain(self, values: Mapping[str, Any]) -> Explained:
        """Execute it once, as it is prepared."""
        given = ", ".join("%s" for _ in self.names)
        call = f"{self._name}({given})" if given else self._name
        return self._explained(f"EXECUTE {call}", [values[name] for name in self.names])

    def explain_anew(self, values: Mapping[str, Any]) -> Explained:
        """Execute it once, planned for these values."""
        return self._explained(self.statement, values)

    def _explained(self, what: str, values: Sequence[Any] | Mapping[str, Any]) -> Explained:
        self._cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {what}", values)
        message = self._cursor.fetchall()[0][0][0]
        return Explained(message["Planning Time"], message["Execution Time"], message["Plan"])


def measure_lookup(servers: Servers, rows: int) -> dict[str, Any]:
    """The statements behind GET of an ad, among `rows`.

    Raises:
        LalafoError: a table is read from one end to the other.
    """
    url = servers.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dice = random.Random(5)  # noqa: S311 - a bench's choice is no secret
    page = [
        parameters(AdKey(CATALOG, ad_id(dice.randrange(rows))), "http://dagster.example")
        for _ in range(min(ADS, rows))
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        lookup = Prepared(connection, "lookup", READ_AD)
        for given in page:  # brings every page into memory, and settles the plan
            lookup.explain(given)
            lookup.explain_anew(given)
        prepared = [lookup.explain(given) for given in page]
        anew = [lookup.explain_anew(given) for given in page]
        others = _measure_others(connection)
    for explained in (prepared[0], anew[0]):
        refuse_scans("GET of an ad", explained.plan)
    return {
        **others,
        **_figures("lookup", prepared),
        "lookup_execution_p99_ms": _p(0.99, [one.execution_ms for one in prepared]),
        "lookup_planned_p50_ms": _p(0.5, [one.total_ms for one in anew]),
        "lookup_planned_p99_ms": _p(0.99, [one.total_ms for one in anew]),
    }


def _measure_others(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """A page of each list, and what statistics read: each some times over."""
    until = FIRST + timedelta(days=DAYS)
    plain = PageRequest(catalogs=None, limit=50, cursor=None, filters={"status": None})
    middle = PageRequest(
        catalogs=[CATALOG],
        limit=50,
        cursor=None,
        filters={"status": "scored"},
        until=FIRST + timedelta(days=DAYS / 2),
    )
    failed = PageRequest(
        catalogs=None, limit=50, cursor=None, filters={"kind": None, "reason": None}
    )
    statements = {
        "list": ads_query(plain),
        "list_middle": ads_query(middle),
        "list_failures": failures_query(failed),
        "statistics_minutes": (MINUTES, {"since": until - timedelta(minutes=60), "until": until}),
        "statistics_outbox": (OUTBOX, {"most": MOST_WAITING}),
        "statistics_accepted": (ACCEPTED, {"most": MOST_ACCEPTED}),
    }
    found: dict[str, float] = {}
    for name, (statement, values) in statements.items():
        prepared = Prepared(connection, name, statement)
        took = [prepared.explain(values).total_ms for _ in range(TIMES)]
        found[f"{name}_ms"] = _p(0.5, took[_BEFORE_GENERIC:])
    return found


def refuse_scans(what: str, plan: Mapping[str, Any]) -> None:
    """LalafoError where a plan reads a whole table that grows with the catalogue."""
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] != "active_releases":
        raise LalafoError(f"{what} reads all of {plan['Relation Name']}")
    for below in plan.get("Plans", ()):
        refuse_scans(what, below)


def _figures(name: str, found: Sequence[Explained]) -> dict[str, float]:
    totals = [one.total_ms for one in found]
    return {f"{name}_p50_ms": _p(0.5, totals), f"{name}_p99_ms": _p(0.99, totals)}


def _p(share: float, values: Sequence[float]) -> float:
    return round(percentile(values, share), 3)
