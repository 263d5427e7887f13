"""The one reader of dates and times: RFC 3339, for records, requests and query parameters."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops.events.fields import Schema, excerpt, wrong

_TIME = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_TIME_TEXT = re.compile(_TIME)
EXPECTED = (
    "expected a date and time with an offset (RFC 3339) such as 2026-05-01T12:00:00Z or "
    "2026-05-01T12:00:00.5+06:00"
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and time with an offset, by RFC 3339. Digits beyond the microsecond are dropped."""

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        return {"type": "string", "format": "date-time", "pattern": rf"^{_TIME}(?!\n)$"}

    def read(self, value: object, name: str) -> datetime:
        """Return the moment in UTC; raises BadInputError."""
        if isinstance(value, datetime):  # a Python caller's
            value = value.isoformat() if value.tzinfo is not None else str(value)
        match = _TIME_TEXT.fullmatch(value) if type(value) is str else None
        if match is None:
            raise wrong(f"{name} is {excerpt(value)}, {EXPECTED}")
        day, minute, second, fraction, offset = match.groups()
        leap = second == "60"
        text = f"{day}T{minute}:{'59' if leap else second}{(fraction or '')[:7]}{offset.upper()}"
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
            if leap:
                moment = _after_leap_second(moment)
        except (ValueError, OverflowError) as error:
            raise wrong(f"{name} {excerpt(value)} is out of range") from error
        return moment


def _after_leap_second(moment: datetime) -> datetime:
    """The moment one second after 23:59:59 UTC, where alone a second 60 occurs."""
    if (moment.hour, moment.minute, moment.second) != (23, 59, 59):
        raise ValueError("a leap second in the middle of a day")
    return moment + timedelta(seconds=1)
