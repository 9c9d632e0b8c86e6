"""A few of the documents that were dropped, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from glm130b.corpus.records import Outcome

_PER_REASON = 3
_CHARACTERS = 300


class Samples:
    """The first three dropped documents for each language, stage and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}

    def wants(self, language: str, outcome: Outcome) -> bool:
        """Whether another sample would be kept."""
        return len(self._found.get((language, outcome.stage, outcome.reason), ())) < _PER_REASON

    def add(self, language: str, outcome: Outcome, document_id: str, text: str, **more: Any) -> None:
        """Keep a document if there are few of its kind."""
        if self.wants(language, outcome):
            kind = (language, outcome.stage, outcome.reason)
            self._found.setdefault(kind, []).append({"id": document_id, "excerpt": excerpt(text), **more})

    def merge(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take what is still wanted of what ``rows`` of another one returned."""
        for row in rows:
            found = self._found.setdefault((row["language"], row["stage"], row["reason"]), [])
            found += row["samples"][: _PER_REASON - len(found)]

    def rows(self) -> list[dict[str, Any]]:
        """As JSON, one row a kind."""
        return [
            {"language": language, "stage": stage, "reason": reason, "samples": samples}
            for (language, stage, reason), samples in self._found.items()
        ]


def excerpt(text: str) -> str:
    """The beginning of a text on one line, at most 300 characters."""
    short = " ".join(text[: 4 * _CHARACTERS].split())
    return short if len(short) <= _CHARACTERS else short[: _CHARACTERS - 1] + "…"
