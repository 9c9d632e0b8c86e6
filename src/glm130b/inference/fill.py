"""Texts with blanks in, filled texts out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from glm130b.errors import DataError
from glm130b.inference.context import make_context, next_blank
from glm130b.inference.decode import answer
from glm130b.inference.sampling import Sampling
from glm130b.model import GLM
from glm130b.tokenization import SpecialTokens, Tokenizer

_BLANK = re.compile(r"\[(?:MASK|gMASK|sMASK)\]")


@dataclass(frozen=True)
class BlankAnswer:
    """One blank and what was put there."""

    kind: str
    text: str
    ended: bool
    """Whether the model ended its answer, rather than running into a limit."""


def fill_blanks(
    model: GLM,
    ids: Sequence[int],
    special: SpecialTokens,
    *,
    end: Collection[int],
    max_new_tokens: int = 128,
    max_length: int | None = None,
    sampling: Sampling | None = None,
    banned: Sequence[int] = (),
    banned_after_gmask: Sequence[int] = (),
    append_eos: bool = False,
    on_token: Callable[[int], None] | None = None,
) -> tuple[list[int], list[tuple[int, list[int], bool]]]:
    """Fill every blank of a text, one after the other; each answer is text to those that follow.

    Args:
        max_new_tokens: at most this many for each blank.
        max_length: at most this many tokens of text and answer together; default the model's length. A blank
            that it leaves no room for gets an empty answer.
        banned: tokens never to be chosen.
        banned_after_gmask: nor these in answers to [gMASK].
        on_token: is given each answer token as it comes.

    Returns:
        The filled text; and for each blank, in the order filled, its id, its answer without the end token
        and whether it had one. Without a blank, the text is continued as if it ended in [gMASK].
    """
    text, answers = list(ids), []
    generator = torch.Generator().manual_seed((sampling or Sampling()).seed)
    while True:
        context = make_context(text, special, append_eos=append_eos)
        budget = max_new_tokens
        if max_length is not None:
            budget = min(budget, max_length - len(context.tokens))
        found: list[int] = []
        for token in answer(
            model,
            context,
            end=end,
            max_new_tokens=budget,
            sampling=sampling,
            banned=banned if context.repeats else [*banned, *banned_after_gmask],
            generator=generator,
        ):
            found.append(token)
            if on_token is not None and token not in end:
                on_token(token)
        ended = bool(found) and found[-1] in end
        if ended:
            found.pop()
        answers.append((context.tokens[context.blank], found, ended))
        text[context.blank : context.blank + 1] = found
        if next_blank(text, special) is None:
            return text, answers


def answer_limits(model: GLM, tokenizer: Tokenizer) -> tuple[set[int], list[int]]:
    """Ids that end an answer, and ids that are no text: the other special tokens and rows that pad the embedding."""
    special = tokenizer.special
    end = {special.eop, special.eos, special.eod}
    no_text = set(special.names()) | set(range(tokenizer.vocab_size, model.config.vocab_size))
    return end, sorted(no_text - end)


def fill(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 64,
    sampling: Sampling | None = None,
    on_text: Callable[[str], None] | None = None,
) -> tuple[str, list[BlankAnswer]]:
    """Fill the ``[MASK]``, ``[sMASK]`` and ``[gMASK]`` blanks of a text.

    A space before a blank belongs to the answer, as it did in training.

    Args:
        on_text: is given each answer as it comes, piece by piece.

    Raises:
        DataError: there is no blank, or the text is longer than the model.
    """
    if not _BLANK.search(text):
        raise DataError("The text has no blank.", "Put [MASK] where something is to be filled in.")
    return _run(model, tokenizer, text, max_new_tokens, sampling, on_text)


def generate(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 128,
    sampling: Sampling | None = None,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue a text with ``[gMASK]``; returns the continuation alone.

    Raises:
        DataError: the text holds a blank, or is longer than the model.
    """
    if _BLANK.search(text):
        raise DataError("The text to continue holds a blank.", "Use `glm fill` for blanks.")
    return _run(model, tokenizer, text + "[gMASK]", max_new_tokens, sampling, on_text)[1][0].text


def _run(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    max_new_tokens: int,
    sampling: Sampling | None,
    on_text: Callable[[str], None] | None,
) -> tuple[str, list[BlankAnswer]]:
    special = tokenizer.special
    ids = tokenizer.encode_with_blanks(re.sub(rf" (?={_BLANK.pattern})", "", text))
    end, banned = answer_limits(model, tokenizer)
    decoder = tokenizer.stream_decoder()
    filled, answers = fill_blanks(
        model,
        ids,
        special,
        end=end,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        banned=banned,
        banned_after_gmask=[special.eop],  # pre-training never ends a [gMASK] answer: the text goes on
        on_token=None if on_text is None else lambda token: on_text(decoder.push(token)),
    )
    if on_text is not None:
        on_text(decoder.finish())
    names = special.names()
    return tokenizer.decode(filled), [
        BlankAnswer(names[kind], tokenizer.decode(found), ended) for kind, found, ended in answers
    ]
