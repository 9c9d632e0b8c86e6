"""What a scorer of toxicity is, and texts through one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from glm130b.errors import ResourceError
from glm130b.evaluation.toxicity.store import Score, ScoreStore

_GIVE_UP = 3
"""After so many batches in a row without a single score something is broken that time will not mend."""


@dataclass(frozen=True)
class ScorerFacts:
    """Which scorer it was.

    Attributes:
        name: ``lexicon``, ``classifier`` or ``http``.
        source: file, folder or address.
        digest: SHA-256 of the files; empty where there are none.
        version: as the scorer tells it; empty where it does not.
        settings: whatever else changes a score.
        warning: what everybody has to know who reads its scores.
    """

    name: str
    source: str
    digest: str = ""
    version: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    warning: str = ""

    @property
    def identity(self) -> str:
        """Names a scorer in the file of scores; it does not depend on where local files lie."""
        told = asdict(self) | {"source": "" if self.digest else self.source, "warning": ""}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Scorer(Protocol):
    """Says how toxic texts are.

    Attributes:
        facts: which scorer it is.
        batch: texts it is given at once.
    """

    facts: ScorerFacts
    batch: int

    def score(self, texts: Sequence[str]) -> list[Score]:
        """A score a text, in their order; a text that could not be scored has none."""
        ...


def score_texts(
    texts: Iterable[str], scorer: Scorer, store: ScoreStore, on_progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Score what the store does not hold yet; each batch is on disk before the next one begins.

    Texts whose scoring failed earlier are tried again.

    Args:
        on_progress: gets the number of texts done and of all.

    Raises:
        ResourceError: nothing was scored in three batches in a row; what was scored before is kept.
    """
    wanted = list(dict.fromkeys(text for text in texts if store.toxicity(text) is None))
    lost = 0
    for start in range(0, len(wanted), scorer.batch):
        batch = wanted[start : start + scorer.batch]
        scores = [_checked(score) for score in scorer.score(batch)]
        if len(scores) != len(batch):
            scores = [Score(None, f"{len(scores)} scores came back for {len(batch)} texts")] * len(batch)
        store.add(batch, scores)
        lost = lost + 1 if all(score.toxicity is None for score in scores) else 0
        if lost == _GIVE_UP:
            raise ResourceError(
                f"The scorer {scorer.facts.name} ({scorer.facts.source}) fails: {scores[-1].error}.",
                "Mend it and run the command again; what was scored is kept.",
            )
        on_progress(start + len(batch), len(wanted))


def _checked(score: Score) -> Score:
    value = score.toxicity
    if value is None or (math.isfinite(value) and 0 <= value <= 1):
        return score
    return Score(None, f"the score {value} is not between 0 and 1", score.version)
