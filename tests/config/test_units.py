"""Numbers as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from glm130b.config import Amount
from glm130b.config.units import Count, Number, Share


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("400B tokens", 4e11, "tokens"),
        ("1 token", 1, "tokens"),
        ("2.5%", 0.025, "share"),
        ("0.5 %", 0.005, "share"),
        ("5_493_164 samples", 5_493_164, "samples"),
        ("5,493,164 samples", 5_493_164, "samples"),
        ("1.5M", 1_500_000, "samples"),
        ("1.005k sequences", 1005, "samples"),
        ("2e3 samples", 2000, "samples"),
        ("3T tokens", 3e12, "tokens"),
        (7, 7, "samples"),
        (2.0, 2, "samples"),
    ],
)
def test_parse(text: object, value: float, unit: str) -> None:
    assert Amount.parse(text) == Amount(value, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", " ", "tokens", "5 parsecs", "-5", "1,5M", "12,34", "0x10", "5 5", "5Q", "1e999", "M", "%", "1.5.0"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|unknown unit|finite"):
        Amount.parse(text)


@pytest.mark.parametrize("raw", [-1, True, None, [5], float("nan"), float("inf")])
def test_what_is_no_amount_without_being_text(raw: object) -> None:
    with pytest.raises(ValueError, match=r"negative|expected an amount|finite"):
        Amount.parse(raw)


def test_samples() -> None:
    assert Amount.parse("1000 tokens").samples(total=0, seq_length=256) == 3
    assert Amount.parse("450B tokens").samples(total=0, seq_length=2048) == 219_726_562
    assert Amount.parse("1.5k").samples(total=7, seq_length=9) == 1500


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(0, 10**12))
def test_a_percentage_is_taken_exactly(percent: int, total: int) -> None:
    """In floating point, 57% of 100 is 56.99999999999999."""
    assert Amount.parse(f"{percent}%").samples(total=total, seq_length=1) == percent * total // 100


amounts = st.builds(
    Amount,
    st.one_of(st.floats(0, 1e18), st.integers(0, 10**15).map(float)),
    st.sampled_from(["samples", "tokens", "share"]),
)


@settings(deadline=None)
@given(amounts)
def test_round_trip(amount: Amount) -> None:
    assert Amount.parse(str(amount)) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(4e11, "tokens"), "400B tokens"),
        (Amount(0.025, "share"), "2.5%"),
        (Amount(1.0, "share"), "100%"),
        (Amount(5_493_164, "samples"), "5493164 samples"),
        (Amount(1000, "samples"), "1k samples"),
        (Amount(0, "samples"), "0 samples"),
    ],
)
def test_written(amount: Amount, text: str) -> None:
    assert str(amount) == text


@settings(deadline=None)
@given(st.fractions(0, 1, max_denominator=1000))
def test_share(fraction: Fraction) -> None:
    value = float(fraction)
    share = TypeAdapter(Share)
    assert share.validate_python(value) == value
    assert share.validate_python(f"{value}") == value
    assert share.validate_python(f"{value * 100}%") == pytest.approx(value)


@pytest.mark.parametrize("raw", ["5 tokens", "half", True])
def test_what_is_no_share(raw: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Share).validate_python(raw)


def test_count() -> None:
    count = TypeAdapter(Count)
    assert [count.validate_python(raw) for raw in (7, "7", "4k", "1.5M", "1_000", "1e3")] == [
        7,
        7,
        4000,
        1_500_000,
        1000,
        1000,
    ]


@pytest.mark.parametrize("raw", [1.5, "1.5", "5%", "7 tokens", True, False])
def test_what_is_no_count(raw: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Count).validate_python(raw)


def test_yes_is_no_number() -> None:
    with pytest.raises(ValidationError, match="expected a number"):
        TypeAdapter(Number).validate_python(True)
