"""What the young model makes of a few texts: its answers, and how sure it was."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from glm130b.inference import Sampling, answer, conventions_of, make_context
from glm130b.model import GLM
from glm130b.tokenization import Tokenizer

BLANKS = {
    "English": "The President of the United [MASK] spoke to the [MASK] of this country.",
    "Chinese": "违反本法规定，构成犯罪的，依法追究[MASK]责任。",
}
"""Texts of the kinds that are in the bundled corpus: speeches and statutes."""
OPENING = "Once upon a time there was a king who had a daughter. When she"
CONTINUATION = Sampling(temperature=0.8, top_p=0.9, seed=7)
CONTINUATION_TOKENS = 60
_ANSWER_TOKENS = 8
_CANDIDATES = 3


@dataclass(frozen=True)
class Candidate:
    """A token that could begin an answer."""

    text: str
    probability: float


@dataclass(frozen=True)
class Blank:
    """One blank's answer.

    Attributes:
        ended: the model ended it, rather than running into the limit.
        probability: geometric mean of the probabilities of the answer's tokens, its end included.
        candidates: the likeliest first tokens.
    """

    text: str
    ended: bool
    probability: float
    candidates: list[Candidate]


@dataclass(frozen=True)
class Filled:
    """A text and what was put into its blanks; one more part than there are blanks."""

    source: str
    parts: list[str]
    blanks: list[Blank]


@torch.inference_mode()
def fill_blanks(model: GLM, tokenizer: Tokenizer, source: str) -> Filled:
    """Answer each blank greedily, from left to right, as ``glm fill`` does, and keep the probabilities."""
    special = tokenizer.special
    conventions = conventions_of(model, tokenizer)
    end, banned = conventions.end, list(conventions.banned)
    text = source.replace(" [MASK]", "[MASK]")
    ids = tokenizer.encode_with_blanks(text)
    blanks = []
    for _ in range(text.count("[MASK]")):
        context = make_context(ids, special)
        found = list(answer(model, context, end=end, max_new_tokens=_ANSWER_TOKENS, banned=banned))
        read, count = len(context.tokens), len(found) - 1
        columns = [
            context.tokens + found[:-1],
            context.position_ids + [context.answer_position(n) for n in range(count)],
            [0] * (read + count),
            context.branch + [1] * count,
        ]
        logits = model(*torch.tensor(columns, device=model.word_embeddings.weight.device)[:, None])[0, read - 1 :]
        logits[:, banned] = -math.inf
        chances = torch.softmax(logits.float(), dim=-1).cpu()
        top = chances[0].topk(_CANDIDATES)
        ended = found[-1] in end
        words = found[:-1] if ended else found
        blanks.append(
            Blank(
                tokenizer.decode(words),
                ended,
                float(chances[torch.arange(len(found)), found].log().mean().exp()),
                [
                    Candidate("(end)" if token in end else tokenizer.decode([token]), chance)
                    for chance, token in zip(top.values.tolist(), top.indices.tolist(), strict=True)
                ],
            )
        )
        ids[context.blank : context.blank + 1] = words
    return Filled(source, text.split("[MASK]"), blanks)


def continue_text(model: GLM, tokenizer: Tokenizer) -> str:
    """What the model writes after ``OPENING``; never an end, for in training the text after [gMASK] goes on."""
    context = make_context(tokenizer.encode(OPENING), tokenizer.special)
    conventions = conventions_of(model, tokenizer)
    banned = [*conventions.banned, *conventions.end]
    found = answer(model, context, end=(), max_new_tokens=CONTINUATION_TOKENS, sampling=CONTINUATION, banned=banned)
    return tokenizer.decode(found)
