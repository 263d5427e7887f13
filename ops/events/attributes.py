"""The one reader of an ad's attributes: numbers by name, such as the area or the year of a good."""

from dataclasses import dataclass
from decimal import Decimal

from ops.errors import BadInputError, Reason
from ops.events.fields import Schema, Text, excerpt, wrong

MAX_ATTRIBUTES = 32
MAX_ATTRIBUTE_CHARS = 64
MAX_ATTRIBUTE = 10**15
_NAME = Text(MAX_ATTRIBUTE_CHARS, min_chars=1)


@dataclass(frozen=True, slots=True)
class Attributes:
    """A flat object of finite JSON numbers; a name whose value is null counts as absent."""

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        number = {
            "type": "number",
            "exclusiveMinimum": -MAX_ATTRIBUTE,
            "exclusiveMaximum": MAX_ATTRIBUTE,
        }
        return {
            "type": "object",
            "maxProperties": MAX_ATTRIBUTES,
            "propertyNames": _NAME.schema,
            "additionalProperties": {"anyOf": [number, {"type": "null"}]},
        }

    def read(self, value: object, name: str) -> dict[str, float]:
        """Return the numbers by name, in the order of the names; raises BadInputError."""
        if not isinstance(value, dict):
            raise wrong(f"{name} is {excerpt(value)}, expected an object of numbers")
        if len(value) > MAX_ATTRIBUTES:
            raise BadInputError(
                Reason.EVENT_TOO_MANY_ATTRIBUTES,
                f"{len(value)} attributes, expected at most {MAX_ATTRIBUTES}",
            )
        for key in value:
            _NAME.read(key, f"the name of an attribute in {name}")
        return {
            key: _number(value[key], f"{name}[{excerpt(key)}]")
            for key in sorted(value)
            if value[key] is not None
        }


def _number(value: object, name: str) -> float:
    if type(value) not in (int, float, Decimal):
        raise wrong(f"{name} is {excerpt(value)}, expected a number")
    # Compared before the conversion: float() of a long integer raises.
    if not -MAX_ATTRIBUTE < value < MAX_ATTRIBUTE:  # type: ignore[operator]  # NaN fails too
        raise wrong(f"{name} is {excerpt(value)}, expected a number between -10^15 and 10^15")
    return float(value) + 0.0  # type: ignore[arg-type]  # not -0.0
