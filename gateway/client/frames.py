"""Ads with their predictions as a pandas DataFrame, with the columns of `lalafo export`.

pandas is imported when a frame is made: the client needs it for nothing else.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.schemas.ads import AdSummary
from gateway.schemas.tasks import TaskOut
from ops.answer_columns import AD_COLUMNS, Column, Kind, cell, json_text, task_columns
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

DELETED = "deleted"
_TYPES = {
    Kind.TEXT: "string",
    Kind.JSON: "string",
    Kind.NUMBER: "float64",
    Kind.INTEGER: "Int64",
    Kind.BOOLEAN: "boolean",
    Kind.MOMENT: "datetime64[us, UTC]",
}
"""The others are objects: Decimal, date, lists."""


def require_pandas() -> None:
    """Raise a ConfigurationError unless pandas is installed; before anything is requested."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(
            "a frame needs pandas, which is not installed here: pip install pandas"
        ) from error
    del pd


def frame(ads: Iterable[AdSummary], tasks: Sequence[TaskOut]) -> "pd.DataFrame":
    """The ads as rows, in their order.

    Args:
        ads: of a list with details.
        tasks: the tasks whose columns the frame has: those that are live.
    """
    import pandas as pd

    columns = (
        *AD_COLUMNS,
        *(it for task in tasks if task.live for it in task_columns(task.name, task.answer)),
    )
    values: list[list[Any]] = [[] for _ in columns]
    for ad in ads:
        for column, found in zip(columns, values, strict=True):
            found.append(_value(ad, column))
    return pd.DataFrame(
        {
            column.name: pd.Series(found, dtype=_TYPES.get(column.kind, "object"))
            for column, found in zip(columns, values, strict=True)
        }
    )


def _value(ad: AdSummary, column: Column) -> Any:
    if column.task:
        prediction = ad.predictions.get(column.task)
        return None if prediction is None else cell(prediction, column)
    if column.name == "release":
        return next((one.get("release") for one in ad.predictions.values()), None)
    value = getattr(ad, column.name)
    if column.kind is Kind.JSON:
        return json_text(value) if value else None
    return value
