"""A record through a template: input and target, or the reason why not."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glm130b.instructions.prompts import Prompt, RenderError

SEPARATOR = "|||"
_STAND_INS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that are no characters: one of them takes the place of each bar that must not divide."""
_BARS = re.compile(r"\|{3,}|^\|+|\|+\Z")
"""Bars of the data that are a separator, or could be part of one beside a template's own."""


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
        self._compiled: dict[str, Any] = {}

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

        The text is divided at ``|||`` and each part stripped. The first part is the input. Each further part
        that is not empty is a right answer, of which the seed chooses one. Without input or without answer
        the template does not apply to the record, and the result is None.

        Args:
            seed: what the random choices depend on.

        Raises:
            RenderError: the template cannot be compiled, or fails on this record.
        """
        jinja, options = self._compile(prompt.jinja), self._compile(prompt.answer_choices or "")
        rng = random.Random(hashlib.blake2b(seed.encode(), digest_size=16).digest())
        stand_in = _stand_in(record)
        values = _protected(record, stand_in)
        self._sandbox.begin(rng)
        choices = None
        if prompt.answer_choices:
            choices = _parts(self._sandbox.run(options, values))
            values = _protected(record, stand_in) | {"answer_choices": list(choices)}
        parts = [part.replace(stand_in, "|") for part in _parts(self._sandbox.run(jinja, values))]
        targets = [part for part in parts[1:] if part]
        if not parts[0] or not targets:
            return None
        if choices is not None:
            choices = [choice.replace(stand_in, "|") for choice in choices]
        target = targets[rng.randrange(len(targets))]
        return Rendered(parts[0], target, tuple(choices) if choices is not None else None)

    def _compile(self, source: str) -> Any:
        if source not in self._compiled:
            from jinja2 import TemplateError

            try:
                self._compiled[source] = self._sandbox.compile_source(source)
            except TemplateError as error:
                raise RenderError(f"it is not valid Jinja: {error}") from None
            except (RecursionError, MemoryError, SyntaxError, ValueError):
                raise RenderError("it is not valid Jinja: it is nested too deeply") from None
        return self._compiled[source]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(SEPARATOR)]


def _stand_in(record: Mapping[str, Any]) -> str:
    """A code point that no string of the record holds."""
    text = str(record)
    found = next((mark for mark in _STAND_INS if mark not in text and repr(mark)[1:-1] not in text), None)
    if found is None:
        raise RenderError("its record holds every code point that could stand for |||")
    return found


def _protected(value: Any, stand_in: str) -> Any:
    """A copy of a record without separators in its strings, keys included; lengths stay as they are."""
    if isinstance(value, str):
        return _BARS.sub(lambda bars: stand_in * len(bars[0]), value) if "|" in value else value
    if isinstance(value, Mapping):
        return {_protected(key, stand_in): _protected(below, stand_in) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_protected(below, stand_in) for below in value]
    return value
