"""What a model has read: contexts, and the answers to them that grow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glm130b.inference.context import Context, pad_rows
from glm130b.inference.engine import Stepper, make_stepper
from glm130b.model import GLM, KVCache, block_size


class Reader:
    """Contexts that were read once, and answers to them that grow by one token at a time.

    Shorter contexts are padded on the right; answers go on behind the padding, which nothing sees. Long contexts
    go through each layer in blocks (``model/streaming.py``), so that memory beside the cache stays bounded.

    Attributes:
        cache: what was read, and the room behind it.
        logits: ``[B, V]``, for each row's next token; after ``read_ahead`` ``[S, V]``.
    """

    def __init__(self, model: GLM, contexts: Sequence[Context], max_new_tokens: int, block: int | None = None) -> None:
        """Read the contexts and keep room for ``max_new_tokens`` behind them.

        Args:
            block: tokens of each context that go through a layer at a time; default by memory, see ``block_size``.
        """
        device = model.word_embeddings.weight.device
        columns = pad_rows(contexts, multiple=1, device=device)
        rows, length = columns.shape[1:]
        self._model, self._contexts, self._length, self._read = model, list(contexts), length, 0
        self.cache = KVCache(
            model.config,
            batch=rows,
            capacity=length + max_new_tokens,
            dtype=model.dtype,
            device=device,
            layer_devices=model.layer_devices,
        )
        self._stepper: Stepper | None = None
        block = block or block_size(model.config, model.dtype, rows)
        last = [row * length + len(context.tokens) - 1 for row, context in enumerate(contexts)]
        with torch.inference_mode():
            self.logits: Tensor = model(
                *columns,
                cache=self.cache,
                rows=torch.tensor(last, device=device),
                block=block if block < length else None,
            )

    def take(self, rows: Sequence[int], *, same_context: bool = False) -> None:
        """Let row i be what row ``rows[i]`` was (see ``KVCache.take``).

        Args:
            same_context: all rows answer one context, so that only the answers need moving.
        """
        from_slot = self._length if same_context and len(rows) == len(self._contexts) else 0
        self.cache.take(torch.tensor(rows, device=self.logits.device), from_slot=from_slot)
        self._contexts = [self._contexts[row] for row in rows]
        if not from_slot:
            self._stepper = None

    def read(self, tokens: Sequence[int]) -> None:
        """Add one token to each row's answer."""
        positions = [context.answer_position(self._read) for context in self._contexts]
        columns = torch.tensor([tokens, positions, [0] * len(tokens), [1] * len(tokens)], device=self.logits.device)
        self._read += 1
        with torch.inference_mode():
            self.logits = self._own_stepper()(columns[:, :, None])

    def read_ahead(self, tokens: Sequence[int]) -> None:
        """Add several tokens to the only row's answer; row i of the logits is for what follows the i-th of them."""
        positions = [self._contexts[0].answer_position(self._read + n) for n in range(len(tokens))]
        columns = torch.tensor([tokens, positions, [0] * len(tokens), [1] * len(tokens)], device=self.logits.device)
        self._read += len(tokens)
        with torch.inference_mode():
            self.logits = self._own_stepper().ahead(columns[:, None])

    def _own_stepper(self) -> Stepper:
        if self._stepper is None:
            self._stepper = make_stepper(self._model, self.cache)
        return self._stepper

    def forget(self, count: int) -> None:
        """Take back the last ``count`` tokens of the answers; the logits stay as they are."""
        self._read -= count
        self.cache.truncate(self._length + self._read)
