"""What each mode asks a model about a question, and what its answers amount to."""

from glm130b.evaluation.modes import choice, generate, lm, pair, sample
from glm130b.evaluation.modes.mode import Way
from glm130b.evaluation.task import Mode

MODES: dict[Mode, Way] = {
    "choice": choice.WAY,
    "generate": generate.WAY,
    "lm": lm.WAY,
    "pair": pair.WAY,
    "sample": sample.WAY,
}

__all__ = ["MODES", "Way"]
