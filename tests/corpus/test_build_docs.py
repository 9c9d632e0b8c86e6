"""docs/data.md lists every filter with its threshold and every reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from glm130b.config import BuildConfig, ChineseFilter, CorpusSource, EnglishFilter, QualityFilter
from glm130b.corpus.documents import FaultReason
from glm130b.corpus.ledger import FILTERS
from glm130b.corpus.quality import RULES
from glm130b.corpus.write import CONTAMINATED, EXACT, NEAR

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
RULE_ROWS = [row for row in ROWS if len(row) == 6]


@pytest.mark.parametrize(("column", "kind"), [(3, EnglishFilter), (4, ChineseFilter)])
def test_every_threshold_is_there_with_its_default(column: int, kind: type[QualityFilter]) -> None:
    shown: dict[str, set[float]] = {}
    for row in RULE_ROWS[2:]:
        for name in re.findall(r"`(\w+)`", row[2]):
            shown.setdefault(name, set()).update(map(float, re.findall(r"[\d.]+", row[column])))
    for name, field in kind.model_fields.items():
        if name != "enabled":
            assert field.default in shown[name], name


def test_every_reason_is_there() -> None:
    first = {row[0] for row in RULE_ROWS}
    assert {rule.reason for rules in RULES.values() for rule in rules} <= first
    named = {*get_args(FaultReason), EXACT.reason, NEAR.reason, CONTAMINATED.reason, *FILTERS}
    for reason in named - {"read", "normalise", "language", "quality", "exact", "near", "contamination"}:
        assert f"`{reason}`" in PAGE, reason
    assert set(FILTERS) <= {row[0] for row in ROWS}


def test_every_key_is_there() -> None:
    for kind in (BuildConfig, CorpusSource):
        for name in kind.model_fields:
            assert f"`{name}" in PAGE or f"{name}:" in PAGE, name
    number = f"{BuildConfig.model_fields['max_document_bytes'].default:,}".replace(",", " ")
    assert number in PAGE.replace("\u202f", " ")
