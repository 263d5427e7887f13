"""Times the gateway's SQL statements with PostgreSQL's `EXPLAIN (ANALYZE)`.

A figure is planning time plus execution time of a prepared statement, because the gateway's
connections prepare their statements. The cost of the same statement unprepared, planned for each
execution, is measured too. Every ad is read once beforehand, so that no page comes from the disk.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from gateway.backends.notices import ACCEPTED, MAX_ACCEPTED
from gateway.reads.ad import READ_AD, parameters
from gateway.reads.ad_list import ads_query
from gateway.reads.failure_list import failures_query
from gateway.reads.pages import PageRequest
from gateway.statistics.queries import MAX_WAITING, MINUTES, OUTBOX
from lalafo_assets.bench.gateway.fill import DAYS, FIRST, ad_id
from lalafo_assets.bench.gateway.place import Servers
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.harness.figures import percentile
from ops.errors import LalafoError
from ops.types import AdKey

ADS = 200
TIMES = 20  # executions of each list and statistics statement
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_BEFORE_GENERIC = 6  # executions: five custom plans of a prepared statement, then a generic one


@dataclass(frozen=True, slots=True)
class Explained:
    """PostgreSQL's own timing of one execution, in milliseconds."""

    planning_ms: float
    execution_ms: float
    plan: Mapping[str, Any]

    @property
    def total_ms(self) -> float:
        """Planning and execution together."""
        return self.planning_ms + self.execution_ms


class Prepared:
    """A statement with psycopg's named placeholders, prepared on a connection for EXPLAIN."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, statement: str) -> None:
        self._cursor = psycopg.ClientCursor(connection)  # EXECUTE takes no bound values
        self._name, self.statement = name, statement
        self.names = list(dict.fromkeys(_PLACEHOLDER.findall(statement)))
        numbered = _PLACEHOLDER.sub(lambda m: f"${self.names.index(m[1]) + 1}", statement)
        self._cursor.execute(f"PREPARE {name} AS {numbered.replace('%%', '%')}")

    def explain(self, values: Mapping[str, Any]) -> Explained:
        """Execute the prepared statement once."""
        arguments = ", ".join("%s" for _ in self.names)
        call = f"{self._name}({arguments})" if arguments else self._name
        return self._explained(f"EXECUTE {call}", [values[name] for name in self.names])

    def explain_unprepared(self, values: Mapping[str, Any]) -> Explained:
        """Execute the statement once without preparing it: planned for these values."""
        return self._explained(self.statement, values)

    def _explained(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> Explained:
        self._cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        output = self._cursor.fetchall()[0][0][0]
        return Explained(output["Planning Time"], output["Execution Time"], output["Plan"])


def measure_lookup(servers: Servers, rows: int) -> dict[str, Any]:
    """Time the statement behind GET of an ad, of a list and of statistics, among `rows` ads.

    Raises:
        LalafoError: the plan reads a whole table.
    """
    conninfo = servers.database.conninfo.text("lalafo-bench")
    dice = random.Random(5)  # noqa: S311 - not a secret
    lookups = [
        parameters(AdKey(CATALOG, ad_id(dice.randrange(rows))), "http://dagster.example")
        for _ in range(min(ADS, rows))
    ]
    with psycopg.connect(conninfo, autocommit=True) as connection:
        lookup = Prepared(connection, "lookup", READ_AD)
        for values in lookups:  # loads every page into memory, and makes the plan generic
            lookup.explain(values)
            lookup.explain_unprepared(values)
        prepared = [lookup.explain(values) for values in lookups]
        unprepared = [lookup.explain_unprepared(values) for values in lookups]
        others = _measure_others(connection)
    for explained in (prepared[0], unprepared[0]):
        reject_seq_scans("GET of an ad", explained.plan)
    return {
        **others,
        **_figures("lookup", prepared),
        "lookup_execution_p99_ms": _p(0.99, [one.execution_ms for one in prepared]),
        "lookup_planned_p50_ms": _p(0.5, [one.total_ms for one in unprepared]),
        "lookup_planned_p99_ms": _p(0.99, [one.total_ms for one in unprepared]),
    }


def _measure_others(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """The median time of one page of each list, and of each statement behind statistics."""
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
        "statistics_outbox": (OUTBOX, {"most": MAX_WAITING}),
        "statistics_accepted": (ACCEPTED, {"most": MAX_ACCEPTED}),
    }
    medians: dict[str, float] = {}
    for name, (statement, values) in statements.items():
        prepared = Prepared(connection, name, statement)
        times_ms = [prepared.explain(values).total_ms for _ in range(TIMES)]
        medians[f"{name}_ms"] = _p(0.5, times_ms[_BEFORE_GENERIC:])
    return medians


def reject_seq_scans(what: str, plan: Mapping[str, Any]) -> None:
    """Raise LalafoError if a plan reads the whole of a table that grows with the catalogue."""
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] != "active_releases":
        raise LalafoError(
            f"the plan of {what} reads all of {plan['Relation Name']}: expected an index scan"
        )
    for child in plan.get("Plans", ()):
        reject_seq_scans(what, child)


def _figures(name: str, executions: Sequence[Explained]) -> dict[str, float]:
    totals = [one.total_ms for one in executions]
    return {f"{name}_p50_ms": _p(0.5, totals), f"{name}_p99_ms": _p(0.99, totals)}


def _p(share: float, values: Sequence[float]) -> float:
    return round(percentile(values, share), 3)
