"""Requests for single options, as the harness makes them, back to questions with their options."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field


@dataclass
class Grouped:
    """One context with all that is to be scored after it.

    Attributes:
        context: the text.
        options: each once, in the order of the requests.
        places: for each option, the numbers of the requests that ask for it.
    """

    context: str
    options: list[str] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)


def by_context(requests: Sequence[tuple[Hashable, str, str]]) -> list[Grouped]:
    """Put requests of one document and one context together, in the order in which they first come.

    Args:
        requests: document, context and option of each.
    """
    groups: dict[tuple[Hashable, str], tuple[Grouped, dict[str, list[int]]]] = {}
    for number, (document, context, option) in enumerate(requests):
        group, known = groups.setdefault((document, context), (Grouped(context), {}))
        if option not in known:
            known[option] = []
            group.options.append(option)
            group.places.append(known[option])
        known[option].append(number)
    return [group for group, _ in groups.values()]
