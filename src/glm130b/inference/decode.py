"""Answers, token by token, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from glm130b.errors import DataError
from glm130b.inference.context import Context
from glm130b.inference.graph import GraphDecoder, fits_graph
from glm130b.inference.reader import Reader
from glm130b.inference.sampling import Sampling, draw
from glm130b.inference.speculate import PromptLookup, Speculation, num_right
from glm130b.model import GLM


def room_for_answer(model: GLM, context: Context) -> int:
    """Tokens that the model's length leaves for an answer.

    Raises:
        DataError: none.
    """
    room = model.config.max_sequence_length - len(context.tokens)
    if room < 1:
        raise DataError(
            f"The text has {len(context.tokens)} tokens, blanks included; the model reads at most "
            f"{model.config.max_sequence_length} with the answer.",
            "Shorten the text.",
        )
    return room


def answer(
    model: GLM,
    context: Context,
    *,
    end: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    banned: Sequence[int] = (),
    generator: torch.Generator | None = None,
    speculation: Speculation | None = None,
) -> Iterator[int]:
    """Yield the answer to a context's blank, its end token included.

    Stops after an ``end`` token, after ``max_new_tokens``, or when the model's length is reached.

    Args:
        banned: tokens never to be chosen.
        generator: of the draws, one for each token there may be; default a new one from ``sampling.seed``.
        speculation: guess ahead and let the model confirm; counts what was guessed. The answer is the same, but
            for rounding: the logits of several tokens read at once differ in their last bits.

    Raises:
        DataError: the context leaves no room for an answer.
    """
    sampling = sampling or Sampling()
    count = min(max_new_tokens, room_for_answer(model, context))
    if count < 1:
        return
    uniforms = sampling.uniforms(count, generator)
    reader = Reader(model, [context], count)
    excluded = _ids(banned, reader)
    if speculation is None and fits_graph(model, reader.cache):
        yield from _answer_on_device(model, context, reader, end, sampling, uniforms, excluded)
        return
    lookup = PromptLookup(context)
    found, guesses = 0, list[int]()
    while True:
        numbers = uniforms[found : found + 1 + len(guesses)]
        chosen = draw(reader.logits, numbers, sampling, excluded).tolist()
        right = num_right(guesses, chosen)
        for n, token in enumerate(chosen[: right + 1]):
            found += 1
            if speculation is not None:
                speculation.right += n < right
                lookup.append(token)
            yield token
            if token in end or found == count:
                return
        reader.forget(len(guesses) - right)
        if speculation is not None:
            guesses = lookup.guess(min(speculation.tokens, count - found - 1))
            speculation.guessed += len(guesses)
        if guesses:
            reader.read_ahead([token, *guesses])
        else:
            reader.read([token])


def _answer_on_device(
    model: GLM,
    context: Context,
    reader: Reader,
    end: Collection[int],
    sampling: Sampling,
    uniforms: Tensor,
    banned: Tensor | None,
) -> Iterator[int]:
    first, second = (torch.tensor([context.answer_position(n)]) for n in range(2))
    decoder = GraphDecoder(
        model,
        reader.cache,
        reader.logits,
        first,
        second - first,
        sampling=sampling,
        uniforms=uniforms[None],
        banned=banned,
    )
    for (token,) in decoder:
        yield token
        if token in end:
            return


def answer_batch(
    model: GLM,
    contexts: Sequence[Context],
    *,
    end: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    banned: Sequence[int] = (),
    seeds: Sequence[int] | None = None,
    until: Callable[[list[int]], bool] | None = None,
) -> list[list[int]]:
    """Answer several contexts side by side; each answer is what ``answer`` would give alone.

    An answer that has ended takes no part in what follows.

    Args:
        seeds: of each row's draws; default ``sampling.seed`` plus the row's number.
        until: says of an answer whether it is complete, though without an end token.

    Returns:
        The answers, end tokens included.

    Raises:
        DataError: a context leaves no room for an answer.
    """
    sampling = sampling or Sampling()
    limits = [min(max_new_tokens, room_for_answer(model, context)) for context in contexts]
    answers: list[list[int]] = [[] for _ in contexts]
    going = list(range(len(contexts)))
    if not going or max_new_tokens < 1:
        return answers
    seeds = [sampling.seed + n for n in going] if seeds is None else seeds
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    uniforms = torch.stack([sampling.uniforms(max(limits), generator) for generator in generators])
    reader = Reader(model, contexts, max(limits))
    excluded = _ids(banned, reader)
    for numbers in uniforms.T:
        for n, token in zip(going, draw(reader.logits, numbers[going], sampling, excluded).tolist(), strict=True):
            answers[n].append(token)
        left = [
            row
            for row, n in enumerate(going)
            if answers[n][-1] not in end
            and len(answers[n]) < limits[n]
            and not (until is not None and until(answers[n]))
        ]
        if not left:
            break
        if len(left) < len(going):
            reader.take(left)
            going = [going[row] for row in left]
        reader.read([answers[n][-1] for n in going])
    return answers


def _ids(banned: Sequence[int], reader: Reader) -> Tensor | None:
    return torch.tensor(banned, device=reader.logits.device) if banned else None
