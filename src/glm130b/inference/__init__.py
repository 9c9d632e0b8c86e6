"""From a model and a text with blanks to the text filled in."""

from glm130b.inference.context import Context, make_context
from glm130b.inference.decode import answer
from glm130b.inference.fill import BlankAnswer, answer_limits, fill, fill_blanks, generate
from glm130b.inference.sampling import Sampling, choose, filter_logits

__all__ = [
    "BlankAnswer",
    "Context",
    "Sampling",
    "answer",
    "answer_limits",
    "choose",
    "fill",
    "fill_blanks",
    "filter_logits",
    "generate",
    "make_context",
]
