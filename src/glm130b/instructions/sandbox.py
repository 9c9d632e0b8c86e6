"""Jinja for templates from anywhere: what they need, at a bounded cost, with seeded randomness.

Every loop turn, call, filter, comparison and concatenation pays for the size of what it touches out of a
budget that is the same for every rendering, so whether a template runs wild does not depend on the machine.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.filters import do_round, make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment, safe_range
from jinja2.utils import Namespace

from glm130b.instructions.metered import Metered
from glm130b.instructions.prompts import RenderError

BUDGET = 50_000_000
"""Characters that one rendering may touch."""
STEP = 20
"""What a step or an element costs, in characters."""
MAX_OUTPUT = 1_000_000
"""Characters that one rendering may print."""
MAX_SOURCE = 100_000
"""Characters of a template."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILTERS = _words(
    "abs capitalize count default d dictsort first float groupby int items last length list lower map max min "
    "reject rejectattr reverse select selectattr sort sum title trim unique upper wordcount"
)
_TESTS = _words(
    "boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower "
    "lt mapping ne none number odd sameas sequence string true undefined upper == != > >= < <="
)
_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "capitalize casefold count endswith find index isalnum isalpha isdigit islower isnumeric isspace istitle "
        "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
        "split splitlines startswith strip swapcase title upper"
    ),
    list: _words("append copy count extend index insert pop remove reverse sort"),
    dict: _words("copy get items keys pop setdefault update values"),
    tuple: _words("count index"),
    int: frozenset(),
    float: _words("is_integer"),
    bool: frozenset(),
}


class Missing(Undefined):
    """What a record lacks: it may be tested and given a default, not printed or walked through."""

    def _refuse(self, *_: Any) -> Any:
        self._fail_with_undefined_error()

    __str__ = __iter__ = __len__ = _refuse


class Sandbox(SandboxedEnvironment):
    """Sandboxed Jinja with the filters and globals of PromptSource.

    ``choice`` and ``random`` draw from a generator seeded for each rendering. Records may be changed by a
    template (``append``, ``update``), so each rendering gets a copy.
    """

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(undefined=Missing, optimized=False, finalize=self._print, cache_size=0)
        functions: dict[str, Callable[..., Any]] = {name: self.filters[name] for name in _FILTERS}
        functions |= {"choice": self._choice, "random": self._choice, "shuffle": self._shuffle}
        functions |= {"most_frequent": most_frequent, "highlight": highlight, "candidates": self._candidates}
        functions |= {"replace": self._replace, "join": self._join, "string": self._string}
        functions |= {"format": self._format, "round": _round}
        self.filters = {name: self._paying(function) for name, function in functions.items()}
        self.filters |= {"_steps": self._steps, "_paid": self._paid, "_concat": self._concat}
        self.tests = {name: self._paying(self.tests[name]) for name in _TESTS}
        self.globals = {"range": safe_range, "zip": zip, "namespace": Namespace}
        self._rng = random.Random(0)
        self._left = self._room = 0

    def compile_source(self, source: str) -> Any:
        """A template ready for ``run``; raises a Jinja error or RecursionError if the source is malformed."""
        if len(source) > MAX_SOURCE:
            raise RenderError(f"it is longer than {MAX_SOURCE} characters")
        return self.from_string(Metered().visit(self.parse(source)))

    def begin(self, rng: random.Random) -> None:
        """Start a rendering with a full budget."""
        self._rng, self._left, self._room = rng, BUDGET, MAX_OUTPUT

    def run(self, template: Any, values: dict[str, Any]) -> str:
        """Render; several templates of one record share a budget.

        Raises:
            RenderError: whatever went wrong inside the template.
        """
        try:
            return str(template.render(values))
        except RecursionError:
            raise RenderError("it calls itself without end") from None
        except MemoryError:
            raise RenderError("it needs too much memory") from None
        except RenderError:
            raise
        except Exception as error:
            raise RenderError(str(error) or type(error).__name__) from None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Methods of plain values are those listed; for the rest Jinja's own rule holds."""
        allowed = _METHODS.get(type(obj))
        return attr in allowed if allowed is not None else super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Leave ``str.format`` to the list of methods, which has it not."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what a template calls, paid by the size of all that goes in and comes out."""
        owner = getattr(__obj, "__self__", None)
        __self._pay((args, kwargs, owner if type(owner) in _METHODS else None))
        if isinstance(owner, str) and __obj.__name__ == "join":
            result: Any = __self._join(args[0], owner) if len(args) == 1 else __obj(*args, **kwargs)
        elif isinstance(owner, str) and __obj.__name__ == "replace" and len(args) >= 2:
            result = __self._replace(owner, *args)
        else:
            result = super().call(__context, __obj, *args, **kwargs)
        __self._pay_result(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic whose result cannot outgrow the budget."""
        self._pay((left, right))
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(count, int):
                    self._spend(len(text) * max(count, 0) * (1 if isinstance(text, str) else STEP))
        elif operator == "**" and (not isinstance(right, (int, float)) or abs(left) > 2**64 or abs(right) > 64):
            raise RenderError("it raises a number to a power that is too large")
        elif operator == "%" and isinstance(left, str):
            return self._format(left, *(right if isinstance(right, tuple) else (right,)))
        return super().call_binop(context, operator, left, right)

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise RenderError("it runs for too long or makes too large a text")

    def _pay(self, value: Any, *, printed: bool = False) -> None:
        """Pay for a value in all its depth, what occurs twice twice; refuse to print what has no text of its own."""
        stack, cost = [value], 0
        while stack:
            part = stack.pop()
            cost += STEP
            if isinstance(part, str):
                cost += len(part)
            elif isinstance(part, (list, tuple)):
                stack.extend(part)
            elif isinstance(part, dict):
                stack.extend(part)
                stack.extend(part.values())
            elif isinstance(part, int):
                cost += part.bit_length() >> 5
            elif isinstance(part, Namespace):
                stack.append(object.__getattribute__(part, "_Namespace__attrs"))
            elif isinstance(part, Missing) and printed:
                str(part)
            elif printed and not isinstance(
                part, (float, type(None), Undefined)
            ):  # an if without its else is Undefined
                raise RenderError(f"it prints a {type(part).__name__}, which is no text")
            if cost + STEP * len(stack) > self._left:
                self._spend(self._left + 1)
        self._spend(cost)

    def _pay_result(self, result: Any) -> None:
        size = len(result) if isinstance(result, (str, list, tuple, dict)) else 0
        self._spend(STEP + (size if isinstance(result, str) else STEP * size))

    def _paying(self, function: Any) -> Callable[..., Any]:
        kind = getattr(function, "jinja_pass_arg", None)

        def paid(*args: Any, **kwargs: Any) -> Any:
            self._pay((args[1:] if kind is not None else args, kwargs))
            result = function(*args, **kwargs)
            self._pay_result(result)
            return result

        if kind is not None:
            paid.jinja_pass_arg = kind  # type: ignore[attr-defined]
        return paid

    @pass_context  # so that Jinja prints nothing while it compiles
    def _print(self, _: Context, value: Any) -> str:
        self._pay(value, printed=True)
        text = str(value)
        self._room -= len(text)
        if self._room < 0:
            raise RenderError(f"it prints more than {MAX_OUTPUT} characters")
        return text

    def _steps(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._spend(STEP)
            yield value

    def _paid(self, value: Any) -> Any:
        self._pay(value)
        return value

    def _concat(self, values: list[Any]) -> str:
        self._pay(values, printed=True)
        return "".join(map(str, values))

    def _join(self, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        values = list(values if attribute is None else map(make_attrgetter(self, attribute), values))
        self._pay(values, printed=True)
        self._spend(len(values) * len(str(d)))
        return str(d).join(map(str, values))

    def _replace(self, value: Any, old: Any, new: Any, count: int = -1) -> str:
        self._pay((value, old, new), printed=True)
        text, old, new = str(value), str(old), str(new)
        self._spend(text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _string(self, value: Any) -> str:
        self._pay(value, printed=True)
        return str(value)

    def _format(self, pattern: Any, *values: Any) -> str:
        self._pay((pattern, values), printed=True)
        if re.search(r"%[^%a-zA-Z]*(\*|\d{4})", str(pattern)):
            raise RenderError("it formats to a width that is too large")
        return str(str(pattern) % values)

    def _choice(self, values: Any) -> Any:
        values = list(values)
        if not values:
            raise RenderError("it chooses from an empty list")
        return values[self._rng.randrange(len(values))]

    def _shuffle(self, values: Any) -> list[Any]:
        return self._rng.sample(values := list(values), len(values))

    def _candidates(self, labels: list[str], gold: list[str], most: int = 20) -> list[str]:
        """The right labels among others, ``most`` in all unless more are right, in random order."""
        others = [label for label in labels if label not in gold]
        wrong = self._rng.sample(others, min(len(others), max(0, most - len(gold))))
        return self._shuffle([*dict.fromkeys(gold), *wrong])


def most_frequent(values: Iterable[Any]) -> list[Any]:
    """The elements that occur most often, in the order they first occur."""
    counts = Counter(values)
    most = max(counts.values(), default=0)
    return [value for value, count in counts.items() if count == most]


def highlight(text: Any) -> Any:
    """The text itself: PromptSource colours it on screen, which no model should see."""
    return text


def _round(value: Any, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > 20:
        raise RenderError("it rounds to too many digits")
    return do_round(value, precision, method)
