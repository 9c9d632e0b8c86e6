"""What docs/mip.md shows is what the code takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from glm130b.config import MipConfig, load_tree
from glm130b.instructions.caps import quotas
from glm130b.instructions.formats import STRUCTURED
from glm130b.instructions.neutral import read_neutral
from glm130b.instructions.tasks import VIEWS

DOCS = (Path(__file__).parents[2] / "docs" / "mip.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", DOCS, re.S)[0])


def test_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(block("yaml"))
    config = load_tree(MipConfig, tmp_path / "recipe.yaml").root
    assert config.cap == 500_000
    assert len(config.active_datasets) == 10


def test_the_neutral_records(tmp_path: Path) -> None:
    decoder, text, objects = json.JSONDecoder(), block("json").strip(), []
    while text:
        found, end = decoder.raw_decode(text)
        objects.append(found)
        text = text[end:].strip()
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, objects)))
    first, second = read_neutral(path)
    mentions = (*first.entities, *first.predicates, *first.events)
    assert [first.mention(span) for span in mentions] == ["Ann", "Oslo", "bombed", "bombed"]
    assert second.turns[0].state == {"train-day": ("friday",)}


def test_tables_and_numbers() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCS, re.M)
    assert rows == [*VIEWS, *STRUCTURED]
    assert quotas(500_000, "dataset", 11) == [45_455] * 6 + [45_454] * 5
