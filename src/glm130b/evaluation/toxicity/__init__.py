"""Continuations scored for toxicity, after a run and as often as wanted."""

from glm130b.evaluation.toxicity.endpoint import Endpoint
from glm130b.evaluation.toxicity.lexicon import Lexicon
from glm130b.evaluation.toxicity.report import score_continuations, toxicity_text
from glm130b.evaluation.toxicity.scorer import Scorer, ScorerFacts, score_texts
from glm130b.evaluation.toxicity.store import Score, ScoreStore, open_store

__all__ = [
    "Endpoint",
    "Lexicon",
    "Score",
    "ScoreStore",
    "Scorer",
    "ScorerFacts",
    "open_store",
    "score_continuations",
    "score_texts",
    "toxicity_text",
]
