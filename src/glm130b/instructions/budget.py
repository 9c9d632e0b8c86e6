"""What one rendering may cost: characters, steps and elements, paid before they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import Undefined
from jinja2.utils import Namespace

from glm130b.instructions.prompts import RenderError

BUDGET = 50_000_000
"""Characters that one rendering may touch."""
STEP = 20
"""What a step or an element costs, in characters."""
MAX_OUTPUT = 1_000_000
"""Characters that one rendering may print."""
MAX_BITS = 4096
"""Of an integer that a template computes."""

_ESCAPED = 10
"""Characters that one may become in the written form of a list."""
_NEEDLE = 8
"""How often a forward search looks at each character at most, on average (CPython's search is linear)."""


class Missing(Undefined):
    """What a record lacks: it may be tested and given a default, not printed or walked through."""

    def _refuse(self, *_: Any) -> Any:
        self._fail_with_undefined_error()

    __str__ = __iter__ = __len__ = _refuse


class Budget:
    """The same for every rendering, so whether a template runs wild does not depend on the machine.

    All methods raise RenderError once nothing is left.
    """

    def __init__(self) -> None:
        self._left = self._room = 0

    def begin(self) -> None:
        """Start a rendering."""
        self._left, self._room = BUDGET, MAX_OUTPUT

    def spend(self, cost: int) -> None:
        """Pay a number of characters."""
        self._left -= cost
        if self._left < 0:
            raise RenderError("it runs for too long or makes too large a text")

    def steps(self, values: Iterable[Any], cost: int = STEP) -> Iterator[Any]:
        """Pay for each value when it is asked for."""
        for value in values:
            self.spend(cost)
            yield value

    def pay(self, value: Any, *, printed: bool = False) -> None:
        """Pay for a value in all its depth, what occurs twice twice; refuse to print what has no text of its own."""
        stack, cost = [value], 0
        while stack:
            part = stack.pop()
            cost += STEP
            if isinstance(part, str):
                cost += len(part) * (_ESCAPED if printed and part is not value else 1)
            elif isinstance(part, (list, tuple)):
                stack.extend(part)
            elif isinstance(part, dict):
                stack.extend(part)
                stack.extend(part.values())
            elif isinstance(part, int):
                cost += part.bit_length() >> 5
            elif isinstance(part, Missing) and printed:
                str(part)
            elif isinstance(part, Namespace) and not printed:
                stack.append(object.__getattribute__(part, "_Namespace__attrs"))
            elif printed and not isinstance(
                part, (float, type(None), Undefined)
            ):  # an if without its else is Undefined
                raise RenderError(f"it prints a {type(part).__name__}, which is no text")
            if cost + STEP * len(stack) > self._left:
                self.spend(self._left + 1)
        self.spend(cost)

    def result(self, value: Any) -> Any:
        """Pay for what a call has made, a lazy sequence while it is walked through; refuse huge integers."""
        size = len(value) if isinstance(value, (str, list, tuple, dict)) else 0
        self.spend(STEP + (size if isinstance(value, str) else STEP * size))
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise RenderError(f"it computes an integer of more than {MAX_BITS} bits")
        return self.steps(value) if isinstance(value, Iterator) else value

    def search(self, text: Any, wanted: Any, *, backward: bool = False) -> None:
        """Pay for looking for a text in a text; CPython's search from the end is quadratic."""
        if isinstance(text, str) and isinstance(wanted, str):
            self.spend(len(text) * (len(wanted) if backward else min(len(wanted), _NEEDLE)))

    def hash(self, old: int, new: int) -> None:
        """Pay for ``new`` keys among ``old``, all of which may have the same hash."""
        self.spend(new * (old + new))

    def method(self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pay for what a method of a plain value costs beyond the size of what it is given."""
        first = args[0] if args else kwargs.get("sep")
        if isinstance(owner, str):
            if name in ("strip", "lstrip", "rstrip") and isinstance(first, str):
                self.spend(len(owner) * len(first))
            self.search(owner, first, backward=name in ("rfind", "rindex", "rsplit", "rpartition"))
            if name in ("split", "rsplit", "splitlines"):
                parts = owner.count(first) if isinstance(first, str) else len(owner) // 2
                self.spend(STEP * (parts + 1))
        elif isinstance(owner, list) and name == "extend" and isinstance(first, str):
            self.spend(STEP * len(first))
        elif isinstance(owner, list) and name == "sort" and kwargs.get("key") is not None:
            raise RenderError("it sorts by a function, which the filter sort does by an attribute")
        elif isinstance(owner, dict) and name == "update":
            self.hash(len(owner), len(kwargs) + (len(first) if isinstance(first, (list, tuple, dict)) else 0))

    def widths(self, widths: Iterable[str]) -> None:
        """Pay for the widths of a ``%`` format."""
        for width in widths:
            if len(width) > 3 or width == "*":
                raise RenderError("it formats to a width that is too large")
            self.spend(int(width))

    def print(self, value: Any) -> str:
        """Pay for printing a value; returns its text."""
        self.pay(value, printed=True)
        text = str(value)
        self._room -= len(text)
        if self._room < 0:
            raise RenderError(f"it prints more than {MAX_OUTPUT} characters")
        return text
