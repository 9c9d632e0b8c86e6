"""Answers, token by token, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from glm130b.errors import DataError
from glm130b.inference.context import Context, pad_rows
from glm130b.inference.sampling import Sampling, choose
from glm130b.model import GLM, KVCache


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


class Reader:
    """Contexts that were read once, and answers to them that grow by one token at a time.

    Shorter contexts are padded on the right; answers go on behind the padding, which nothing sees.

    Attributes:
        logits: ``[B, V]``, for each row's next token.
    """

    def __init__(self, model: GLM, contexts: Sequence[Context], max_new_tokens: int) -> None:
        """Read the contexts and keep room for ``max_new_tokens`` behind them."""
        weight = model.word_embeddings.weight
        columns = pad_rows(contexts, multiple=1, device=weight.device)
        rows, length = columns.shape[1:]
        self._model, self._contexts, self._length, self._read = model, list(contexts), length, 0
        self._cache = KVCache(
            model.config,
            batch=rows,
            capacity=length + max_new_tokens,
            dtype=weight.dtype,
            device=weight.device,
            layer_devices=model.layer_devices,
        )
        last = [row * length + len(context.tokens) - 1 for row, context in enumerate(contexts)]
        self.logits = self._forward(columns, last)

    def take(self, rows: Sequence[int], *, same_context: bool = False) -> None:
        """Let row i be what row ``rows[i]`` was (see ``KVCache.take``).

        Args:
            same_context: all rows answer one context, so that only the answers need moving.
        """
        from_slot = self._length if same_context and len(rows) == len(self._contexts) else 0
        self._cache.take(torch.tensor(rows, device=self.logits.device), from_slot=from_slot)
        self._contexts = [self._contexts[row] for row in rows]

    def read(self, tokens: Sequence[int]) -> None:
        """Add one token to each row's answer."""
        positions = [context.answer_position(self._read) for context in self._contexts]
        columns = torch.tensor([tokens, positions, [0] * len(tokens), [1] * len(tokens)], device=self.logits.device)
        self._read += 1
        self.logits = self._forward(columns[:, :, None], range(len(tokens)))

    def _forward(self, columns: Tensor, rows: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._model(*columns, cache=self._cache, rows=torch.tensor(rows, device=columns.device))
        return logits


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
    count = min(max_new_tokens, room_for_answer(model, context))
    if count < 1:
        return
    reader = Reader(model, [context], count)
    for n in range(count):
        token = choose(reader.logits[0], sampling, generator, banned)
        yield token
        if token in end or n + 1 == count:
            return
        reader.read([token])


def answer_batch(
    model: GLM,
    contexts: Sequence[Context],
    *,
    end: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    banned: Sequence[int] = (),
) -> list[list[int]]:
    """Answer several contexts side by side; each answer is what ``answer`` would give alone.

    An answer that has ended takes no part in what follows. Row n draws with seed ``sampling.seed`` + n.

    Returns:
        The answers, end tokens included.

    Raises:
        DataError: a context leaves no room for an answer.
    """
    sampling = sampling or Sampling()
    limits = [min(max_new_tokens, room_for_answer(model, context)) for context in contexts]
    generators = [torch.Generator().manual_seed(sampling.seed + n) for n in range(len(contexts))]
    answers: list[list[int]] = [[] for _ in contexts]
    going = list(range(len(contexts)))
    if not going or max_new_tokens < 1:
        return answers
    reader = Reader(model, contexts, max(limits))
    while True:
        for row, n in enumerate(going):
            answers[n].append(choose(reader.logits[row], sampling, generators[n], banned))
        left = [row for row, n in enumerate(going) if answers[n][-1] not in end and len(answers[n]) < limits[n]]
        if not left:
            return answers
        if len(left) < len(going):
            reader.take(left)
            going = [going[row] for row in left]
        reader.read([answers[n][-1] for n in going])
