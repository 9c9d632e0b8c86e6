"""Items and wordings to what a model reads, with solved examples before it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.items import Item, Question
from glm130b.evaluation.task import Prompt, Task
from glm130b.instructions import Prompt as Template
from glm130b.instructions import Rendered, Renderer, RenderError, load_prompts
from glm130b.tokenization import wants_no_space

BLANK = "[MASK]"


class Questioner:
    """Renders one task's items.

    Args:
        pool: what solved examples are taken from; items without a right answer are no examples.
        seed: of their choice.
    """

    def __init__(self, task: Task, pool: Sequence[Item] = (), *, seed: int = 0) -> None:
        self._task, self._seed = task, seed
        self._renderer = Renderer()
        self._pool = [item for item in pool if item.labels or item.references]
        self._by_group: dict[str, list[Item]] = {}
        for item in self._pool:
            self._by_group.setdefault(item.group, []).append(item)

    def questions(self, prompt: Prompt, items: Iterable[Item], shots: int = 0) -> Iterator[Question]:
        """Put items into words.

        Raises:
            ConfigError: the wording cannot be rendered, or its options do not go with the items' labels.
            DataError: there are fewer examples than shots; or a text holds another blank than the wording's.
        """
        for item in items:
            rendered = self._rendered(prompt, item)
            text = self._examples(prompt, item, shots) + rendered.input
            self._check_blanks(prompt, item, text)
            options = _options(item, rendered)
            self._check_options(prompt, item, options, rendered.target)
            yield Question(item, prompt.id, shots, text, options, digest_of(text, options))

    def _examples(self, prompt: Prompt, item: Item, shots: int) -> str:
        preamble, separator = self._layout(prompt, item)
        parts = []
        for example in self._chosen(item, shots):
            if prompt.example is not None:
                parts.append(self._part(prompt, prompt.example, example))
            else:
                rendered = self._rendered(prompt, example)
                parts.append(solved(rendered.input, rendered.target))
        return preamble + "".join(part + separator for part in parts)

    def _layout(self, prompt: Prompt, item: Item) -> tuple[str, str]:
        """What stands before everything and after each example; to the letter, where the set's own file says it."""
        if "fewshot_layout" in item.fields:
            layout: Mapping[str, str] = item.fields["fewshot_layout"]
            return layout["preamble"], layout["separator"]
        rules = self._task.fewshot
        preamble = self._part(prompt, rules.preamble, item) + rules.separator if rules.preamble else ""
        return preamble, rules.separator

    def _chosen(self, item: Item, shots: int) -> list[Item]:
        if not shots:
            return []
        rules = self._task.fewshot
        pool = self._by_group.get(item.group, []) if rules.same_group else self._pool
        order: Iterable[int] = range(len(pool))
        if rules.sampler == "random":
            order = _drawn(len(pool), random.Random(f"{self._task.name}/{self._seed}/{item.id}"))
        chosen = list(islice((pool[n] for n in order if _apart(pool[n], item)), shots))
        if len(chosen) < shots:
            of = f" of {item.group}" if rules.same_group else ""
            raise DataError(
                f"{self._task.name}: {shots} solved examples{of} are asked for and {len(chosen)} are there.",
                "Ask for fewer --shots, or add the files named under data.fewshot.",
            )
        return chosen

    def _part(self, prompt: Prompt, jinja: str, item: Item) -> str:
        """A preamble or a solved example, which has no right answer of its own."""
        return self._render(prompt, f"{jinja} ||| -", item).input

    def _rendered(self, prompt: Prompt, item: Item) -> Rendered:
        return self._render(prompt, prompt.jinja, item)

    def _render(self, prompt: Prompt, jinja: str, item: Item) -> Rendered:
        template = Template(
            folder=self._task.name,
            id=prompt.id,
            name=prompt.id,
            jinja=jinja,
            answer_choices=prompt.answer_choices,
            original_task=None,
            choices_in_prompt=None,
            languages=(),
            metrics=(),
        )
        fields: Mapping[str, Any] = item.fields
        if prompt.answer_choices is None and "choices" in fields:
            fields = {"answer_choices": list(fields["choices"]), **fields}
        try:
            rendered = self._renderer.render(template, fields, f"{self._seed}/{item.id}")
        except RenderError as error:
            raise ConfigError(
                f"{self._task.name}, prompt {prompt.id}, item {item.id}: {error}.", "Mend the wording."
            ) from None
        if rendered is None:
            raise ConfigError(
                f"{self._task.name}, prompt {prompt.id}: item {item.id} gives no text or no answer.",
                "Mend the wording, or leave it out with --prompts.",
            )
        return rendered

    def _check_blanks(self, prompt: Prompt, item: Item, text: str) -> None:
        allowed = 1 if self._task.mask == BLANK else 0
        if text.count(BLANK) > allowed or "[gMASK]" in text or "[sMASK]" in text:
            raise DataError(
                f"{self._task.name}, prompt {prompt.id}, item {item.id}: the text holds {text.count(BLANK)} [MASK] "
                f"or another blank, and {allowed} may be there.",
                "A blank that belongs to the data has to be replaced by the reader or the wording.",
            )

    def _check_options(self, prompt: Prompt, item: Item, options: tuple[str, ...], answer: str) -> None:
        """An answer that is none of the options says nothing, since BIG-bench's may be longer than the option."""
        if self._task.mode != "choice" or not options:  # none at all is told where they are encoded
            return
        where = f"{self._task.name}, prompt {prompt.id}, item {item.id}"
        own = item.fields.get("choices", options)
        if len(options) < 2 or len(options) != len(own) or any(label >= len(options) for label in item.labels):
            raise ConfigError(
                f"{where}: there are {len(options)} options, and right is number {max(item.labels, default=0)} from 0.",
                "Give the wording answer_choices, one for each label.",
            )
        if item.labels and answer in options and answer not in (options[label] for label in item.labels):
            raise ConfigError(
                f"{where}: the wording's answer is {answer!r}, and the item's is {options[item.labels[0]]!r}.",
                "Put answer_choices in the order of the labels, or leave the wording out with --prompts.",
            )


def solved(text: str, answer: str) -> str:
    """A text with its blank filled in, or the answer after it; a space between unless one is out of place."""
    if BLANK in text:
        return text.replace(BLANK, answer)
    return text + ("" if wants_no_space(text) else " ") + answer


def promptsource(task: Task, root: Path, folder: str) -> tuple[Prompt, ...]:
    """A dataset's wordings from a PromptSource checkout: ``root`` is its folder ``templates``.

    Raises:
        DataError: there are none.
    """
    templates = load_prompts(root, folder)
    wants_options = task.mode == "choice"
    return tuple(
        Prompt(id=t.name, jinja=t.jinja, answer_choices=t.answer_choices, provenance="promptsource")
        for t in templates
        if not wants_options or t.answer_choices is not None
    )


def _drawn(size: int, rng: random.Random) -> Iterator[int]:
    """Numbers below ``size`` in random order, each once; the first few cost little however many there are."""
    moved: dict[int, int] = {}
    for left in range(size, 0, -1):
        n = rng.randrange(left)
        yield moved.get(n, n)
        moved[n] = moved.get(left - 1, left - 1)


def digest_of(text: str, options: Sequence[str]) -> str:
    """Names a question: SHA-256 of text and options."""
    return hashlib.sha256(json.dumps([text, list(options)], ensure_ascii=False).encode()).hexdigest()


def _apart(example: Item, item: Item) -> bool:
    """Whether an example gives nothing of the item away: it is another, and not of its cluster."""
    return example.id != item.id and (example.cluster or example.id) != (item.cluster or item.id)


def _options(item: Item, rendered: Rendered) -> tuple[str, ...]:
    if rendered.choices is not None:
        return rendered.choices
    return tuple(item.fields["choices"]) if item.labels and "choices" in item.fields else ()
