"""One answer, token by token, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from glm130b.errors import DataError
from glm130b.inference.context import Context
from glm130b.inference.sampling import Sampling, choose
from glm130b.model import GLM, KVCache


def answer(
    model: GLM,
    context: Context,
    *,
    end: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    banned: Sequence[int] = (),
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield the answer to a context's blank, its end token included.

    Stops after an ``end`` token, after ``max_new_tokens``, or when the model's length is reached.

    Args:
        banned: tokens never to be chosen.
        generator: of the draws; default a new one from ``sampling.seed``.

    Raises:
        DataError: the context leaves no room for an answer.
    """
    sampling = sampling or Sampling()
    generator = generator or torch.Generator().manual_seed(sampling.seed)
    room = model.config.max_sequence_length - len(context.tokens)
    if room < 1:
        raise DataError(
            f"The text has {len(context.tokens)} tokens, blanks included; the model reads at most "
            f"{model.config.max_sequence_length} with the answer.",
            "Shorten the text.",
        )
    weight = model.word_embeddings.weight
    device = weight.device
    count = min(max_new_tokens, room)
    if count < 1:
        return
    cache = KVCache(model.config, batch=1, capacity=len(context.tokens) + count, dtype=weight.dtype, device=device)

    def read(tokens: list[int], position_ids: list[int], branch: list[int]) -> torch.Tensor:
        columns = torch.tensor([tokens, position_ids, [0] * len(tokens), branch], device=device)
        with torch.inference_mode():
            last = torch.tensor([len(tokens) - 1], device=device)
            logits: torch.Tensor = model(*columns[:, None], cache=cache, rows=last)
        return logits[0]

    logits = read(context.tokens, context.position_ids, context.branch)
    for n in range(count):
        token = choose(logits, sampling, generator, banned)
        yield token
        if token in end or n + 1 == count:
            return
        logits = read([token], [context.answer_position(n)], [1])
