"""Reading an event's values: ids, revisions, times and prices; each refusal says what is right."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ops.errors import BadInputError, Reason
from ops.events.fields import Identifier, Revision
from ops.events.moment import Moment
from ops.events.price import Price


@pytest.mark.parametrize(
    "ad_id",
    [
        *("NL12\n", "\nNL12", "NL\r12", "a\tb", "\x1f", "\x7f", "\x80", "\x85", "\x9f"),
        *("a\u2028", "\u2029b", "x/../victim", "..", ".", "./a", "a/.", "a/..", "a//../b"),
        *("\ud800", "x" * 201, ""),
    ],
)
def test_an_id_that_no_path_can_name_is_refused(ad_id: str) -> None:
    """Control characters, dot segments, lone surrogates; too long and empty ones as before."""
    with pytest.raises(BadInputError) as caught:
        Identifier().read(ad_id, "ad_id")
    assert "ad_id" in caught.value.detail


@pytest.mark.parametrize(
    "ad_id",
    [
        *("42", "a/b", "/", "a//b", "/a", "a/", "...", "..a", "a..", ".a/b.", "a b", " a ", "%2F"),
        *(
            "%2e%2e",
            "%0A",
            "a?b#c",
            "a+b",
            "a;b=c",
            "é",
            "e\u0301",
            "💺",
            "\u202e",
            "C:\\x",
            "x" * 200,
        ),
    ],
)
def test_every_other_id_is_taken_as_it_is(ad_id: str) -> None:
    """Nothing is normalised."""
    assert Identifier().read(ad_id, "ad_id") == ad_id


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22t10:00:00z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00+06:00", datetime(2026, 11, 22, 4, tzinfo=UTC)),
        ("2026-11-22T10:00:00-00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00.5Z", datetime(2026, 11, 22, 10, microsecond=500_000, tzinfo=UTC)),
        ("2026-11-22T10:00:00.123456789Z", datetime(2026, 11, 22, 10, 0, 0, 123_456, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_of_rfc_3339_is_read(text: str, moment: datetime) -> None:
    """In UTC; digits beyond the microsecond are dropped; a leap second is the next one."""
    assert Moment().read(text, "occurred_at") == moment


@pytest.mark.parametrize(
    "value",
    [
        *(1_692_352_800_000, "1692352800", "20261122T100000Z", "2026-W47-7T10:00:00Z"),
        *("2026-326T10:00:00Z", "2026-11-22", "2026-11-22T10:00Z", "2026-11-22 10:00:00Z"),
        *("2026-11-22T10:00:00", "2026-11-22T10:00:00+06", "2026-11-22T10:00:00+0600"),
        *("2026-11-22T10:00:00,5Z", "2026-11-22T24:00:00Z", "2026-02-30T10:00:00Z"),
        *("٢٠٢٦-11-22T10:00:00Z", "2026-11-22T10:00:00Z\n", " 2026-11-22T10:00:00Z"),
        *("2026-11-22T10:00:60Z", "2026-11-22T10:00:00+24:00", "2026-11-22T10:00:00+06:60"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+10:00", True, Decimal("1.5"), []),
        datetime(2026, 11, 22, 10),
    ],
)
def test_any_other_time_is_refused(value: object) -> None:
    """Numbers, week dates, the basic format, times without an offset, other alphabets' digits."""
    with pytest.raises(BadInputError, match=r"RFC 3339|out of range"):
        Moment().read(value, "occurred_at")


@pytest.mark.parametrize(
    ("value", "price"),
    [
        *((5, "5.00"), ("5", "5.00"), ("1200.50", "1200.50"), ("0", "0.00"), ("007", "7.00")),
        *((12.5, "12.50"), (Decimal("1E+5"), "100000.00"), (Decimal("1E-400"), "0.00")),
        *((Decimal("-0.0"), "0.00"), ("999999999999999.99", "999999999999999.99")),
    ],
)
def test_a_price_is_read_with_two_decimals(value: object, price: str) -> None:
    """A JSON number, or digits with at most one point."""
    assert str(Price().read(value, "price")) == price


@pytest.mark.parametrize(
    "value",
    [
        *(
            "1_0",
            "\uff11\uff12",
            "+5",
            "5 ",
            " 5",
            "5\n",
            "-0",
            "-5",
            "٣",
            ".5",
            "5.",
            "1,5",
            "1 000",
        ),
        *("1E+5", "1e5", "NaN", "sNaN", "Infinity", "0x10", "", "1.5.5", "5 KGS", "1" * 16),
        *(True, -1, -0.01, float("nan"), float("inf"), 10**15, Decimal("1E+400"), "9" * 10_000, []),
    ],
)
def test_any_other_price_is_refused_with_the_format(value: object) -> None:
    """What Python's Decimal would accept besides is refused."""
    with pytest.raises(BadInputError) as caught:
        Price().read(value, "price")
    assert '1200, 1200.5 or "1200.50"' in caught.value.detail


@pytest.mark.parametrize("value", [2**62 + 1, 2**63 - 1, -1, "5", Decimal("5.0"), True, None])
def test_a_revision_outside_its_bounds_is_refused_with_them(value: object) -> None:
    """The highest leaves room for the revisions that the gateway assigns."""
    with pytest.raises(BadInputError, match=rf"from 0 to {2**62} \(2\^62\)") as caught:
        Revision().read(value, "revision")
    assert caught.value.reason is Reason.EVENT_BAD_REVISION
