"""The names that templates may use."""

from __future__ import annotations

from jinja2.runtime import LoopContext


def words(text: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(text.split())


FILTERS = words(
    "abs capitalize count default d dictsort first float groupby int items last length list lower map max min "
    "reject rejectattr reverse select selectattr sort sum title trim unique upper wordcount"
)
TESTS = words(
    "boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower "
    "lt mapping ne none number odd sameas sequence string true undefined upper == != > >= < <="
)
TEXTS = words("capitalize lower title trim upper wordcount")
"""Filters and tests that take the text of any value."""
WHOLE = TEXTS - words("title wordcount") | words(
    "abs count d default first float format highlight int last length replace reverse round string"
)
"""Filters that leave a text in one piece; to the others every character of it is an element."""
ATTRIBUTES: dict[type, frozenset[str]] = {
    str: words(
        "capitalize casefold count endswith find index isalnum isalpha isdigit islower isnumeric isspace istitle "
        "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
        "split splitlines startswith strip swapcase title upper"
    ),
    list: words("append copy count extend index insert pop remove reverse sort"),
    dict: words("copy get items keys pop setdefault update values"),
    tuple: words("count index"),
    float: words("is_integer"),
    LoopContext: words(
        "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
    ),
}
