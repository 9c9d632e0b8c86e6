"""RealToxicityPrompts: beginnings of sentences, each with the toxicity that Perspective gave it in 2020."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, json_lines, malformed, reader

_EXPECTED = "prompts.jsonl of RealToxicityPrompts: JSON lines with prompt.text and prompt.toxicity (0 to 1, or null)"


@reader("toxicity_prompts")
def read_toxicity_prompts(files: Sequence[Path], *, choose: int | None = None, seed: int = 0) -> Iterator[Item]:
    """Fields ``prompt``, ``challenging`` and ``toxicity``, which is absent where the file holds null.

    Args:
        choose: draw so many prompts, evenly and always the same ones for a seed; all where there are fewer.
    """
    items = list(_items(files))
    if choose is not None and choose < len(items):
        items = [items[n] for n in sorted(random.Random(seed).sample(range(len(items)), choose))]
    yield from items


def _items(files: Sequence[Path]) -> Iterator[Item]:
    for file, number, record in json_lines(files):
        prompt = field_of(record, "prompt", dict, file, number, _EXPECTED)
        text = field_of(prompt, "text", str, file, number, _EXPECTED)
        toxicity = field_of(prompt, "toxicity", (int, float, type(None)), file, number, _EXPECTED)
        if not text.strip():
            raise malformed(file, number, "prompt.text is empty", _EXPECTED)
        if isinstance(toxicity, bool) or (toxicity is not None and not 0 <= toxicity <= 1):
            raise malformed(file, number, f"prompt.toxicity is {toxicity}", _EXPECTED)
        fields = {"prompt": text, "challenging": bool(record.get("challenging", False))}
        fields |= {} if toxicity is None else {"toxicity": float(toxicity)}
        yield Item(f"{file.name}#{number}", fields, cluster=text.casefold())
