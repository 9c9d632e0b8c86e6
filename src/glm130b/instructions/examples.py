"""Examples of one source as token ids: a pure function of recipe, prompt and number."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glm130b.config import MipConfig
from glm130b.draws import key, permute
from glm130b.errors import DataError
from glm130b.instructions.prompts import RenderError
from glm130b.instructions.render import Rendered, Renderer
from glm130b.instructions.sources import Source
from glm130b.instructions.spool import Spool
from glm130b.tokenization import Tokenizer

Outcome = Literal["written", "not applicable", "failed", "too long"]
WINDOW = 512
"""Tokens of one sample of instruction data in training (GLM-130B, section 2.3)."""
_TRIES = 8
"""Records looked at for each demonstration before there is one fewer."""


@dataclass(frozen=True)
class Made:
    """What became of one record under one prompt.

    Attributes:
        outcome: written, or why not; "too long" is longer than ``max_input_tokens``.
        record: its number in the dataset.
        reason: of a failure.
        rendered: the texts, demonstrations included; None if not applicable or failed.
        demonstrations: answered examples that stand before it.
        input, target: ids without any special token, ``[m]`` and ``[n]``.
    """

    outcome: Outcome
    record: int
    reason: str = ""
    rendered: Rendered | None = None
    demonstrations: int = 0
    input: tuple[int, ...] = ()
    target: tuple[int, ...] = ()

    @property
    def is_long(self) -> bool:
        """Whether it has to be cut to fit a training window: ids, mask and sop."""
        return len(self.input) + len(self.target) + 2 > WINDOW


@dataclass
class Block:
    """A stretch of one prompt's examples, as a worker hands it back.

    Attributes:
        ids: inputs and targets one after the other.
        lengths: of input, target, input, …
    """

    source: int
    prompt: int
    counts: Counter[str] = field(default_factory=Counter)
    sample: str = ""
    ids: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    lengths: list[int] = field(default_factory=list)


class Maker:
    """Renders and tokenises the records of one source."""

    def __init__(self, config: MipConfig, source: Source, tokenizer: Tokenizer, renderer: Renderer) -> None:
        self._config, self._source, self._tokenizer, self._renderer = config, source, tokenizer, renderer
        self._spool = Spool(source.prefix)

    def close(self) -> None:
        """Close the records."""
        self._spool.close()

    def record(self, prompt: int, rank: int) -> int:
        """Number of the record that a prompt takes as its ``rank``-th: a seeded permutation of all."""
        return permute(rank, self._source.num_records, key(self._seed(prompt, "order")))

    def context(self, record: int) -> dict[str, Any]:
        """What the templates see of a record."""
        return self._source.context(self._spool[record])

    def make(self, prompt: int, rank: int) -> Made:
        """The ``rank``-th example of a prompt, or why there is none."""
        number = self.record(prompt, rank)
        try:
            rendered = self._render(prompt, number)
            if rendered is None:
                return Made("not applicable", number)
            target = self._encode(rendered.target)
            shown = self._demonstrations(prompt, number, rendered.input)
            while True:
                text = self._config.few_shot.separator.join([*shown, rendered.input])
                ids = self._encode(text)
                if not shown or (self._fits(ids) and len(ids) + len(target) + 2 <= WINDOW):
                    break
                shown = shown[1:]
        except RenderError as error:
            return Made("failed", number, str(error))
        outcome: Outcome = "written" if self._fits(ids) else "too long"
        whole = Rendered(text, rendered.target, rendered.choices)
        return Made(outcome, number, "", whole, len(shown), tuple(ids), tuple(target))

    def block(self, source: int, prompt: int, start: int, stop: int) -> Block:
        """Examples ``start`` to ``stop - 1`` of a prompt with counts of every outcome."""
        block, parts = Block(source, prompt), []
        for rank in range(start, stop):
            made = self.make(prompt, rank)
            block.counts[made.outcome] += 1
            if made.outcome == "failed" and not block.sample:
                block.sample = f"record {made.record}: {made.reason}"
            if made.outcome == "written":
                block.counts["few-shot"] += made.demonstrations > 0
                block.counts["over 512"] += made.is_long
                parts += [made.input, made.target]
        block.lengths = [len(part) for part in parts]
        block.ids = np.fromiter((token for part in parts for token in part), np.int32, sum(block.lengths))
        return block

    def _seed(self, prompt: int, *parts: object) -> str:
        template = self._source.prompts[prompt]
        return "/".join(map(str, (self._config.seed, self._source.dataset, template.folder, template.id, *parts)))

    def _render(self, prompt: int, number: int) -> Rendered | None:
        return self._renderer.render(self._source.prompts[prompt], self.context(number), self._seed(prompt, number))

    def _encode(self, text: str) -> list[int]:
        try:
            ids = self._tokenizer.encode(text)
        except DataError as error:
            raise RenderError(error.problem.removesuffix(".")) from None
        if not ids:
            raise RenderError(f"the tokenizer makes nothing of {text[:40]!r}")
        return ids

    def _fits(self, ids: list[int]) -> bool:
        most = self._config.max_input_tokens
        return most is None or len(ids) <= most

    def _demonstrations(self, prompt: int, number: int, own: str) -> list[str]:
        """Answered examples of other texts to stand before this one, if there is room; often none."""
        few_shot, size = self._config.few_shot, self._source.num_records
        rng = random.Random(self._seed(prompt, "few-shot", number))
        if rng.random() >= few_shot.share:
            return []
        wanted = rng.randint(1, few_shot.max_examples)
        shown: list[str] = []
        inputs, texts = {own}, [_text(self._spool[number])]
        looked = {number}
        while len(shown) < wanted and len(looked) < min(size, 1 + _TRIES * wanted):
            other = rng.randrange(size)
            if other in looked:
                continue
            looked.add(other)
            try:
                rendered = self._render(prompt, other)
            except RenderError:
                continue
            text = _text(self._spool[other])
            if rendered is None or rendered.input in inputs or any(_overlap(text, known) for known in texts):
                continue
            inputs.add(rendered.input)
            texts.append(text)
            shown.append(f"{rendered.input} {rendered.target}")
        return shown


def _text(record: dict[str, Any]) -> str:
    """What the views of one sentence or dialogue have in common; empty if records are no views."""
    text = record.get("text", "")
    return text if isinstance(text, str) else ""


def _overlap(text: str, other: str) -> bool:
    """Whether two views are of one sentence, or of one dialogue, whose turns follow each other."""
    return bool(text and other) and (text.startswith(other) or other.startswith(text))
