"""What a model takes for an end, and how a text is put to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glm130b.model import GLM
from glm130b.tokenization import Tokenizer


@dataclass(frozen=True)
class Conventions:
    """How a model was trained to answer.

    Attributes:
        end: tokens that end an answer.
        banned: tokens never to be chosen.
        banned_after_gmask: nor these in answers to [gMASK].
        append_eos: end a prompt that does not end in a blank with eos.
        joins_space: a space before a blank belongs to the answer.
        beams: what ``BeamSearch.compat`` the command line takes unless told otherwise.
    """

    end: frozenset[int]
    banned: tuple[int, ...] = ()
    banned_after_gmask: tuple[int, ...] = ()
    append_eos: bool = False
    joins_space: bool = False
    beams: Literal["glm130b"] | None = None


def conventions_of(model: GLM, tokenizer: Tokenizer) -> Conventions:
    """The authors' interactive program's for an official model; else our own training's.

    No model writes an id that only pads the embedding; the authors' may, and they could not print it. Our
    models write no special token either but those that end an answer, and of these not eop after [gMASK]: in
    pre-training the text there goes on.
    """
    special = tokenizer.special
    padding = tuple(range(tokenizer.vocab_size, model.config.vocab_size))
    if model.config.conventions == "official":
        return Conventions(end=frozenset({special.eop, special.eos}), banned=padding, append_eos=True, beams="glm130b")
    end = frozenset({special.eop, special.eos, special.eod})
    return Conventions(
        end=end,
        banned=tuple(sorted(set(special.names()) - end)) + padding,
        banned_after_gmask=(special.eop,),
        joins_space=True,
    )
