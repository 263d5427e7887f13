"""The one reader of prices."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ops.events.fields import Schema, excerpt, wrong

MAX_PRICE = Decimal(10) ** 15
_PRICE = r"[0-9]{1,15}(\.[0-9]{1,50})?"
_PRICE_TEXT = re.compile(_PRICE)


@dataclass(frozen=True, slots=True)
class Price:
    """A price with two decimals: a JSON number, or a string of digits with at most one point."""

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        number = {"type": "number", "minimum": 0, "exclusiveMaximum": int(MAX_PRICE)}
        return {"anyOf": [number, {"type": "string", "pattern": rf"^{_PRICE}(?!\n)$"}]}

    def read(self, value: object, name: str) -> Decimal:
        """Return the price, rounded to two decimals; raises BadInputError."""
        expected = (
            f"{name} is {excerpt(value)}, expected a number from 0 to below 10^15 such as 1200, "
            '1200.5 or "1200.50"'
        )
        if type(value) is str and _PRICE_TEXT.fullmatch(value) is None:
            raise wrong(expected)
        if type(value) not in (int, float, Decimal, str):
            raise wrong(expected)
        try:
            price = Decimal(str(value))
        except InvalidOperation as error:
            raise wrong(expected) from error
        # Checked after rounding too: 999999999999999.999 rounds to more than the column can store.
        if not price.is_finite() or not (0 <= price < MAX_PRICE and round(price, 2) < MAX_PRICE):
            raise wrong(expected)
        return abs(round(price, 2))  # not -0.00
