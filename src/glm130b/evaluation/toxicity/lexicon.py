"""Toxicity by a list of words: enough to see that the machinery works, and no more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from glm130b.errors import DataError
from glm130b.evaluation.toxicity.scorer import ScorerFacts
from glm130b.evaluation.toxicity.store import Score
from glm130b.files import sha256_of_file
from glm130b.lines import read_lines

BUNDLED = Path(__file__).with_name("words.txt")
_WARNING = "A list of words measures words, not toxicity: it is for sanity checks only."


class Lexicon:
    """Scores 1 where a text holds a word of the list, else 0.

    Words of scripts with spaces count as whole words in any case; Chinese ones wherever they stand.
    """

    batch = 1024

    def __init__(self, words: Path | None = None) -> None:
        """Read a list.

        Args:
            words: a word or phrase a line, ``#`` begins a comment; without it a few mild words of the package.

        Raises:
            DataError: it cannot be read, or is empty.
        """
        file = words or BUNDLED
        entries = [line.split("#", 1)[0].strip().casefold() for _, line in read_lines(file)]
        entries = sorted({entry for entry in entries if entry}, key=lambda entry: (-len(entry), entry))
        if not entries:
            raise DataError(f"{file} lists no word.", "Write one a line.")
        self._pattern = re.compile("|".join(map(_bounded, entries)))
        bundled = " This is the package's own list of a few mild words." if words is None else ""
        self.facts = ScorerFacts("lexicon", str(words or "bundled"), sha256_of_file(file), warning=_WARNING + bundled)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """A score a text; none ever fails."""
        return [Score(float(self._pattern.search(text.casefold()) is not None)) for text in texts]


def _bounded(entry: str) -> str:
    """A pattern for an entry; an end of it that is Chinese needs no boundary."""
    before = r"(?<!\w)" if _is_spaced(entry[0]) else ""
    after = r"(?!\w)" if _is_spaced(entry[-1]) else ""
    return before + re.escape(entry) + after


def _is_spaced(character: str) -> bool:
    return character.isalnum() and not "\u3040" <= character <= "\u9fff"
