"""From a model and a text with blanks to the text filled in, and how probable texts are to a model."""

from glm130b.inference.beam import beam_search
from glm130b.inference.beam_step import Beams, BeamSearch, Hypothesis, OfficialBeams
from glm130b.inference.builders import (
    ChoiceItem,
    Window,
    all_single_token,
    choice_item,
    generation_context,
    keep_end,
    language_model_windows,
    unidirectional_choice,
    window_row,
)
from glm130b.inference.context import Context, Row, make_context, pad_rows
from glm130b.inference.conventions import Conventions, conventions_of
from glm130b.inference.decode import answer, answer_batch
from glm130b.inference.engine import Stepper, make_stepper
from glm130b.inference.fill import BlankAnswer, Decoding, fill, fill_blanks, generate
from glm130b.inference.reader import Reader
from glm130b.inference.sampling import Sampling, draw, filter_logits
from glm130b.inference.scoring import (
    as_choice,
    choice_log_probs,
    official_perplexity,
    perplexity,
    score_choices,
    window_loss,
)
from glm130b.inference.speculate import Speculation

__all__ = [
    "BeamSearch",
    "Beams",
    "BlankAnswer",
    "ChoiceItem",
    "Context",
    "Conventions",
    "Decoding",
    "Hypothesis",
    "OfficialBeams",
    "Reader",
    "Row",
    "Sampling",
    "Speculation",
    "Stepper",
    "Window",
    "all_single_token",
    "answer",
    "answer_batch",
    "as_choice",
    "beam_search",
    "choice_item",
    "choice_log_probs",
    "conventions_of",
    "draw",
    "fill",
    "fill_blanks",
    "filter_logits",
    "generate",
    "generation_context",
    "keep_end",
    "language_model_windows",
    "make_context",
    "make_stepper",
    "official_perplexity",
    "pad_rows",
    "perplexity",
    "score_choices",
    "unidirectional_choice",
    "window_loss",
    "window_row",
]
