"""Recipes of corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm130b.config import BuildConfig, load_tree
from glm130b.errors import ConfigError


def test_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("sources:\n  a: {path: x.jsonl, license: CC0}\n  b: {path: [y, z]}\n")
    path = tmp_path / "recipe.yaml"
    path.write_text("extends: base.yaml\nsources:\n  a: null\n  c: {path: w.txt, heldout: 100%}\npart_bytes: 64M\n")
    recipe = load_tree(BuildConfig, path, ["filters.zh.min_characters=5", "contamination.against=tests"]).root
    assert {name: source.path for name, source in recipe.active_sources.items()} == {"b": ("y", "z"), "c": ("w.txt",)}
    assert recipe.active_sources["c"].heldout == 1
    assert recipe.active_sources["b"].heldout is None
    assert (recipe.part_bytes, recipe.filters.zh.min_characters) == (64_000_000, 5)
    assert recipe.contamination.against == ("tests",)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ([], "lacks sources"),
        (["sources={a: null}"], "no source is left"),
        (["sources={a/b: {path: x}}"], "the source name 'a/b' has to consist of letters"),
        (["sources={a: {path: []}}"], "at least 1 item"),
        (["sources={a: {path: x, language: fr}}"], "sources.a.language must be 'en' or 'zh'"),
        (["sources={a: {path: x}}", "filters.en.min_wrods=3"], "unknown key filters.en.min_wrods"),
        (["sources={a: {path: x}}", "duplicates.bands=0"], "duplicates.bands must be greater than 0"),
        (["sources={a: {path: x}}", "contamination.action=delete"], "contamination.action must be"),
    ],
)
def test_recipes_that_are_refused(overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tree(BuildConfig, None, overrides)
    assert problem in caught.value.problem
    assert caught.value.next_step
