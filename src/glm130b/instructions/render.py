"""A record through a template: input and target, or the reason why not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glm130b.instructions.prompts import Prompt, RenderError

_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that are no characters: one that the record lacks takes the place of each ``|||`` of a template."""


@dataclass(frozen=True)
class Rendered:
    """One example as text.

    Attributes:
        input: the prompt, stripped.
        target: the answer, stripped, not empty.
        choices: the rendered options, or None for free text.
    """

    input: str
    target: str
    choices: tuple[str, ...] | None


class Renderer:
    """Compiles templates once and renders records with them."""

    def __init__(self) -> None:
        from glm130b.instructions.sandbox import Sandbox

        self._sandbox = Sandbox()
        self._compiled: dict[tuple[str, str], Any] = {}

    def compile(self, prompt: Prompt) -> None:
        """Compile a template without rendering anything.

        Raises:
            RenderError: it cannot be compiled.
        """
        for source in (prompt.jinja, prompt.answer_choices or ""):
            self._compile(source)

    def names(self, prompt: Prompt) -> set[str]:
        """The names that a template takes from the record.

        Raises:
            RenderError: it cannot be compiled.
        """
        from jinja2 import meta

        self.compile(prompt)
        names: set[str] = set()
        for source in (prompt.jinja, prompt.answer_choices or ""):
            names |= meta.find_undeclared_variables(self._sandbox.parse(source))
        return names - self._sandbox.globals.keys() - {"answer_choices"}

    def render(self, prompt: Prompt, record: Mapping[str, Any], seed: str) -> Rendered | None:
        """Render one record, always the same for the same seed.

        The text is divided at each ``|||`` of the template, never of the record, and each part stripped. The
        first part is the input. Each further part that is not empty is a right answer, of which the seed
        chooses one. Without input or without answer the template does not apply to the record, and the result
        is None.

        Args:
            seed: what the random choices depend on.

        Raises:
            RenderError: the template cannot be compiled, or fails on this record.
        """
        mark = _mark(record)
        jinja, options = self._compile(prompt.jinja, mark), self._compile(prompt.answer_choices or "", mark)
        rng = random.Random(hashlib.blake2b(seed.encode(), digest_size=16).digest())
        self._sandbox.begin(rng)
        values, choices = _copied(record), None
        if prompt.answer_choices:
            choices = _parts(self._sandbox.run(options, values), mark)
            values = _copied(record) | {"answer_choices": list(choices)}
        parts = _parts(self._sandbox.run(jinja, values), mark)
        targets = [part for part in parts[1:] if part]
        if not parts[0] or not targets:
            return None
        target = targets[rng.randrange(len(targets))]
        return Rendered(parts[0], target, tuple(choices) if choices is not None else None)

    def _compile(self, source: str, mark: str = _MARKS[0]) -> Any:
        if (source, mark) not in self._compiled:
            from jinja2 import TemplateError

            try:
                self._compiled[source, mark] = self._sandbox.compile_source(source, mark)
            except TemplateError as error:
                raise RenderError(f"it is not valid Jinja: {error}") from None
            except (RecursionError, MemoryError, SyntaxError, ValueError):
                raise RenderError("it is not valid Jinja: it is nested too deeply") from None
        return self._compiled[source, mark]


def _parts(text: str, mark: str) -> list[str]:
    """A text divided at the marks; in the written form of a list they are escaped."""
    return [part.strip() for part in text.replace(_escaped(mark), mark).split(mark)]


def _mark(record: Mapping[str, Any]) -> str:
    """A code point that no string of the record holds."""
    text = str(record)
    found = next((mark for mark in _MARKS if mark not in text and _escaped(mark) not in text), None)
    if found is None:
        raise RenderError("its record holds every code point that could stand for |||")
    return found


def _escaped(mark: str) -> str:
    return repr(mark)[1:-1]


def _copied(value: Any) -> Any:
    """A copy of a record, which a template may change."""
    if isinstance(value, Mapping):
        return {key: _copied(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(below) for below in value]
    return value
