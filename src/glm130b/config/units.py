"""Numbers as people write them: ``400B tokens``, ``2.5%``, ``5_493_164 samples``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_POWERS = {"": 0, "k": 3, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}
_NUMBER = re.compile(
    r"\s*((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9][0-9_]*)(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]{1,3}))?"
    r"\s*([kKMBGT]?)\s*(%|[a-z]*)\s*"
)
_UNITS = {
    "samples": "samples",
    "sample": "samples",
    "sequences": "samples",
    "tokens": "tokens",
    "token": "tokens",
}

Unit = Literal["samples", "tokens", "share"]


def _parse(text: str) -> tuple[float, str]:
    """The value, a percentage already divided by 100, and the unit."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read {text!r} as a number; write it like 400B tokens, 1.5M samples or 2.5%")
    digits, exponent, multiplier, unit = match.groups()
    power = int(exponent or 0) + _POWERS[multiplier] - (2 if unit == "%" else 0)
    return _finite(float(f"{re.sub('[_,]', '', digits)}e{power}")), unit


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a number must be finite")
    return value


@dataclass(frozen=True)
class Amount:
    """A stretch of training, in samples (sequences), tokens, or as a share of the whole run."""

    value: float
    unit: Unit

    @classmethod
    def parse(cls, raw: object) -> Amount:
        """Read ``raw``: a plain number counts samples; text may carry a unit.

        Raises:
            ValueError: not a non-negative number with a known unit.
        """
        if isinstance(raw, Amount):
            return raw
        if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
            raise ValueError(f"expected an amount like 400B tokens, 1.5M samples or 2.5%, got {raw!r}")
        if isinstance(raw, (int, float)):
            if raw < 0:
                raise ValueError("an amount cannot be negative")
            return cls(_finite(float(raw)), "samples")
        value, unit = _parse(raw)
        if unit == "%":
            return cls(value, "share")
        if unit and unit not in _UNITS:
            raise ValueError(f"unknown unit {unit!r} in {raw!r}; use samples, tokens or %")
        return cls(value, "tokens" if _UNITS.get(unit) == "tokens" else "samples")

    def samples(self, *, total: int, seq_length: int) -> int:
        """This amount in samples of ``seq_length`` tokens, out of a run of ``total`` samples."""
        match self.unit:
            case "samples":
                return int(self.value)
            case "tokens":
                return int(self.value // seq_length)
            case "share":
                return int(Fraction(str(self.value)) * total)

    def __str__(self) -> str:
        value = Decimal(str(self.value))
        if self.unit == "share":
            return f"{_plain(value.scaleb(2))}%"
        for suffix in "TBMk":
            scaled = value.scaleb(-_POWERS[suffix]).normalize()
            if scaled >= 1 and len(scaled.as_tuple().digits) <= 6:
                return f"{_plain(scaled)}{suffix} {self.unit}"
        return f"{_plain(value)} {self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _number(raw: object) -> object:
    if isinstance(raw, bool):
        raise ValueError("expected a number, not yes or no")
    return raw


def _share(raw: object) -> object:
    if isinstance(raw, str):
        value, unit = _parse(raw)
        if unit not in ("", "%"):
            raise ValueError(f"expected a share like 0.3 or 30%, got {raw!r}")
        return value
    return _number(raw)


def _count(raw: object) -> object:
    if isinstance(raw, str):
        value, unit = _parse(raw)
        if unit:
            raise ValueError(f"expected a plain count like 4096 or 1.5M, got {raw!r}")
        return value
    return _number(raw)


Number = Annotated[float, BeforeValidator(_number)]
"""A float."""

Share = Annotated[float, BeforeValidator(_share)]
"""A float that may be written as a percentage."""

Count = Annotated[int, BeforeValidator(_count)]
"""An integer that may be written with k, M, B or T."""
