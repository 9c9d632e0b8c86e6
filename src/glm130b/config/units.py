"""Numbers as people write them: ``400B tokens``, ``2.5%``, ``5_493_164 samples``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_MULTIPLIERS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([kKMBGT]?)\s*(%|[a-z]*)\s*")
_UNITS = {
    "samples": "samples",
    "sample": "samples",
    "sequences": "samples",
    "tokens": "tokens",
    "token": "tokens",
}

Unit = Literal["samples", "tokens", "share"]


def _parse(text: str) -> tuple[float, str]:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read {text!r} as a number; write it like 400B tokens, 1.5M samples or 2.5%")
    digits, multiplier, unit = match.groups()
    return float(digits.replace("_", "").replace(",", "")) * _MULTIPLIERS[multiplier], unit


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
            return cls(float(raw), "samples")
        value, unit = _parse(raw)
        if unit == "%":
            return cls(value / 100, "share")
        if unit and unit not in _UNITS:
            raise ValueError(f"unknown unit {unit!r} in {raw!r}; use samples, tokens or %")
        return cls(value, "tokens" if _UNITS.get(unit) == "tokens" else "samples")

    def samples(self, *, total: int, seq_length: int) -> int:
        """This amount in samples of ``seq_length`` tokens, out of a run of ``total`` samples."""
        match self.unit:
            case "samples":
                return int(self.value)
            case "tokens":
                return int(self.value / seq_length)
            case "share":
                return int(self.value * total)

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{self.value * 100:.12g}%"
        for suffix in "TBMk":
            scaled = self.value / _MULTIPLIERS[suffix]
            if scaled >= 1 and float(f"{scaled:.6g}") * _MULTIPLIERS[suffix] == self.value:
                return f"{scaled:.6g}{suffix} {self.unit}"
        return f"{self.value:.15g} {self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _share(raw: object) -> object:
    if isinstance(raw, str):
        value, unit = _parse(raw)
        if unit not in ("", "%"):
            raise ValueError(f"expected a share like 0.3 or 30%, got {raw!r}")
        return value / 100 if unit == "%" else value
    return raw


def _count(raw: object) -> object:
    if isinstance(raw, str):
        value, unit = _parse(raw)
        if unit:
            raise ValueError(f"expected a plain count like 4096 or 1.5M, got {raw!r}")
        return value
    return raw


Share = Annotated[float, BeforeValidator(_share)]
"""A float that may be written as a percentage."""

Count = Annotated[int, BeforeValidator(_count)]
"""An integer that may be written with k, M, B or T."""
