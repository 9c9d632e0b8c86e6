"""Jinja for templates from anywhere: what they need, at a bounded cost, with seeded randomness.

Every loop turn, call, filter, comparison and concatenation pays for the size of what it touches out of a budget.
``allowed`` lists the names that there are, ``metered`` the syntax.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import do_round, make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment, safe_range
from jinja2.utils import Namespace

from glm130b.instructions.allowed import ATTRIBUTES, FILTERS, TESTS, TEXTS, WHOLE
from glm130b.instructions.budget import STEP, Budget, Missing
from glm130b.instructions.metered import SEPARATOR, Metered, check, mark_separators
from glm130b.instructions.prompts import RenderError

MAX_SOURCE = 100_000
"""Characters of a template."""


class Sandbox(SandboxedEnvironment):
    """Sandboxed Jinja with the filters and globals of PromptSource.

    ``choice`` and ``random`` draw from a generator seeded for each rendering. Records may be changed by a
    template (``append``, ``update``), so each rendering gets a copy. Templates cannot name the methods of this
    class, which ``metered`` puts into them.
    """

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(undefined=Missing, optimized=False, finalize=self._print, cache_size=0)
        functions: dict[str, Callable[..., Any]] = {name: self.filters[name] for name in FILTERS}
        functions |= {"choice": self._choice, "random": self._choice, "shuffle": self._shuffle, "sum": self._sum}
        functions |= {"most_frequent": most_frequent, "highlight": highlight, "candidates": self._candidates}
        functions |= {"replace": self._replace, "join": self._join, "string": self._string}
        functions |= {"format": self._format, "round": _round}
        self.filters = {name: self._paying(name, function) for name, function in functions.items()}
        tests = {name: self.tests[name] for name in TESTS} | {"in": self._contains}
        self.tests = {name: self._paying(name, function) for name, function in tests.items()}
        self.globals = {"range": self._range, "zip": self._zip, "namespace": Namespace}
        self._rng = random.Random(0)
        self._budget = Budget()

    def compile_source(self, source: str, mark: str = SEPARATOR) -> Any:
        """A template ready for ``run``, in which ``mark`` stands for each ``|||`` of its own.

        Raises:
            RenderError: it is too long, or uses what templates may not.
            TemplateError: it is malformed; or RecursionError, if it is nested too deeply.
        """
        if len(source) > MAX_SOURCE:
            raise RenderError(f"it is longer than {MAX_SOURCE} characters")
        tree = self.parse(source)
        check(tree)
        mark_separators(tree, mark)
        return self.from_string(Metered().visit(tree))

    def begin(self, rng: random.Random) -> None:
        """Start a rendering with a full budget."""
        self._rng = rng
        self._budget.begin()

    def run(self, template: Any, values: dict[str, Any]) -> str:
        """Render; several templates of one record share a budget.

        Raises:
            RenderError: whatever went wrong inside the template.
        """
        try:
            return str(template.render(values))
        except RecursionError:
            raise RenderError("it nests values too deeply") from None
        except MemoryError:
            raise RenderError("it needs too much memory") from None
        except RenderError:
            raise
        except Exception as error:
            reason = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error))
            raise RenderError(reason or type(error).__name__) from None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only what is listed, and what a template keeps in a namespace."""
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in ATTRIBUTES.get(str if isinstance(obj, str) else type(obj), ())

    def wrap_str_format(self, value: Any) -> None:
        """Refuse ``str.format``: its fields reach into objects, its widths fill memory."""
        if super().wrap_str_format(value) is not None:
            raise SecurityError("access to attribute 'format' of a text is unsafe")

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, or a value of that name, for a step."""
        self._budget.spend(STEP)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An element, for a step; a mapping's keys may all have the same hash."""
        self._budget.spend(STEP + (len(obj) if isinstance(obj, dict) else 0))
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what a template calls, paid by the size of all that goes in and comes out."""
        for name in ("_loop_vars", "_block_vars"):
            kwargs.pop(name, None)
        owner = getattr(__obj, "__self__", None)
        if owner is __self:  # these pay for themselves
            return __obj(*args, **kwargs)
        plain = isinstance(owner, (str, list, dict, tuple))
        __self._budget.pay((args, kwargs, owner if plain else None))
        if isinstance(owner, str) and __obj.__name__ == "join" and len(args) == 1:
            return __self._join(args[0], owner)
        if isinstance(owner, str) and __obj.__name__ == "replace" and len(args) >= 2:
            return __self._replace(owner, *args)
        if plain:
            args = tuple(list(one) if isinstance(one, Iterator) else one for one in args)
            __self._budget.method(owner, __obj.__name__, args, kwargs)
        return __self._budget.result(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic whose result cannot outgrow the budget."""
        self._budget.pay((left, right))
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(count, int):
                    self._budget.spend(len(text) * max(count, 0) * (1 if isinstance(text, str) else STEP))
        elif operator == "**" and (not isinstance(right, (int, float)) or abs(left) > 2**64 or abs(right) > 64):
            raise RenderError("it raises a number to a power that is too large")
        elif operator == "%" and isinstance(left, str):
            return self._format(left, *(right if isinstance(right, tuple) else (right,)))
        return self._budget.result(super().call_binop(context, operator, left, right))

    def _paying(self, name: str, function: Any) -> Callable[..., Any]:
        kind = getattr(function, "jinja_pass_arg", None)
        place = 0 if kind is None else 1

        def paid(*args: Any, **kwargs: Any) -> Any:
            value, rest = args[place], args[place + 1 :]
            self._budget.pay((value, rest, kwargs))
            if name in TEXTS:
                self._budget.pay(value, printed=True)
            elif name in ("unique", "most_frequent"):
                value = list(value)
                self._budget.hash(0, len(value))
            if isinstance(value, str):
                self._budget.spend(0 if name in WHOLE or name in TESTS else STEP * len(value))
            if isinstance(value, str) and name == "trim":
                given = [one for one in (*rest, *kwargs.values()) if isinstance(one, str)]
                self._budget.spend(len(value) * sum(map(len, given)))
            return self._budget.result(function(*args[:place], value, *rest, **kwargs))

        if kind is not None:
            paid.jinja_pass_arg = kind  # type: ignore[attr-defined]
        return paid

    @pass_context  # so that Jinja prints nothing while it compiles
    def _print(self, _: Context, value: Any) -> str:
        return self._budget.print(value)

    def _turns(self, values: Iterable[Any], size: int) -> Iterator[Any]:
        return self._budget.steps(values, STEP + size)

    def _paid(self, value: Any) -> Any:
        self._budget.pay(value)
        return value

    def _keyed(self, value: dict[Any, Any]) -> dict[Any, Any]:
        self._budget.hash(0, len(value))
        return value

    def _contains(self, value: Any, values: Any) -> bool:
        self._budget.pay((value, values))
        self._budget.search(values, value)
        return value in values

    def _range(self, *bounds: int) -> list[int]:
        values = safe_range(*bounds)
        self._budget.spend(STEP * len(values))
        return list(values)

    def _zip(self, *lists: Iterable[Any]) -> list[tuple[Any, ...]]:
        self._budget.pay(lists)
        whole = [list(self._budget.steps(values)) for values in lists]
        self._budget.spend(STEP * (len(whole) + 1) * min(map(len, whole), default=0))
        return list(zip(*whole, strict=False))

    def _concat(self, values: list[Any]) -> str:
        self._budget.pay(values, printed=True)
        return "".join(map(str, values))

    def _sum(self, values: Iterable[Any], attribute: str | int | None = None) -> Any:
        return sum(values if attribute is None else map(make_attrgetter(self, attribute), values))

    def _join(self, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        values = list(values if attribute is None else map(make_attrgetter(self, attribute), values))
        self._budget.pay((values, d), printed=True)
        self._budget.spend(len(values) * len(str(d)))
        return str(d).join(map(str, values))

    def _replace(self, value: Any, old: Any, new: Any, count: int = -1) -> str:
        self._budget.pay((value, old, new), printed=True)
        text, old, new = str(value), str(old), str(new)
        self._budget.search(text, old)
        self._budget.spend(text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _string(self, value: Any) -> str:
        self._budget.pay(value, printed=True)
        return str(value)

    def _format(self, pattern: Any, *values: Any) -> str:
        self._budget.pay((pattern, values), printed=True)
        self._budget.widths(re.findall(r"\d+|\*", "".join(re.findall(r"%[^%a-zA-Z]*", str(pattern)))))
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
