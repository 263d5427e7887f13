"""Columns as Arrow types, and blocks of COPY's CSV as Parquet.

Imports pyarrow when it is called.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ops.answer_columns import Column, Kind, checked

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSION = "zstd"
_LISTS = frozenset({Kind.TEXTS, Kind.NUMBERS, Kind.INTEGERS})


def arrow_schema(columns: Sequence[Column], about: Mapping[str, str]) -> "pa.Schema":
    """The columns as an Arrow schema, with their descriptions as metadata of the fields.

    Args:
        about: metadata of the whole.
    """
    import pyarrow as pa

    types: dict[Kind, pa.DataType] = {
        Kind.TEXT: pa.string(),
        Kind.NUMBER: pa.float64(),
        Kind.INTEGER: pa.int64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.DECIMAL: pa.decimal128(17, 2),
        Kind.DAY: pa.date32(),
        Kind.MOMENT: pa.timestamp("us", tz="UTC"),
        Kind.TEXTS: pa.list_(pa.string()),
        Kind.NUMBERS: pa.list_(pa.float64()),
        Kind.INTEGERS: pa.list_(pa.int64()),
        Kind.JSON: pa.string(),
    }
    return pa.schema(
        [
            pa.field(column.name, types[column.kind], metadata={"description": column.description})
            for column in columns
        ],
        metadata=dict(about),
    )


class ParquetFile:
    """A Parquet file that is written block by block; each becomes a row group."""

    def __init__(self, path: Path, columns: Sequence[Column], about: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        self._columns = columns
        self._schema = arrow_schema(columns, about)
        texts = {field.name: pa.string() for field in self._schema if pa.types.is_list(field.type)}
        self._read = pa_csv.ReadOptions(column_names=self._schema.names, use_threads=False)
        self._parse = pa_csv.ParseOptions(newlines_in_values=True)
        self._convert = pa_csv.ConvertOptions(
            column_types={
                **dict(zip(self._schema.names, self._schema.types, strict=True)),
                **texts,
            },
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,  # COPY quotes an empty text, and no null
            true_values=["true"],
            false_values=["false"],
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression=COMPRESSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def write(self, rows: bytes) -> None:
        """Append rows of COPY's CSV as a row group."""
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        table = pa_csv.read_csv(
            pa.BufferReader(rows),
            read_options=self._read,
            parse_options=self._parse,
            convert_options=self._convert,
        )
        arrays = [
            pa.array(_lists(table.column(number), column.kind), field.type)
            if column.kind in _LISTS
            else table.column(number)
            for number, (column, field) in enumerate(zip(self._columns, self._schema, strict=True))
        ]
        self._writer.write_table(pa.table(arrays, schema=self._schema))


def _lists(texts: Any, kind: Kind) -> list[Any]:
    """JSON texts as lists; null where an item is of another type."""
    known: dict[str | None, Any] = {None: None}  # few different ones: flags, paths
    found = []
    for text in texts.to_pylist():
        if text not in known:
            known[text] = checked(json.loads(text), kind)
        found.append(known[text])
    return found
