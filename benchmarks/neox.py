"""Hugging Face's GPT-NeoX of a benchmark's sizes, training in a process of its own when it is asked to."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection

import torch
from common import seconds

from glm130b.training import keep_freed_memory


class Neox:
    """GPT-NeoX in a process that sleeps between steps, with the allocator as its users have it or set as ours is.

    Args:
        sizes: of ``common.SHAPES``, with ``vocab_size``.
    """

    def __init__(
        self, sizes: Mapping[str, int], sequences: int, length: int, threads: int, *, keep_memory: bool
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, dict(sizes), sequences, length, threads, keep_memory)
        context.Process(target=_worker, args=arguments, daemon=True).start()
        self.num_parameters: int = self._pipe.recv()

    def step(self) -> float:
        """Seconds of one step."""
        self._pipe.send(True)
        taken: float = self._pipe.recv()
        return taken

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(False)


def _worker(
    pipe: Connection, sizes: dict[str, int], sequences: int, length: int, threads: int, keep_memory: bool
) -> None:
    """Take one AdamW step each time it is asked."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.set_num_threads(threads)
    if keep_memory:
        keep_freed_memory()
    # NeoX has a plain feed-forward of two matrices: 1.5 times ours in width costs what GeGLU's three do.
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            hidden_size=sizes["hidden_size"],
            num_hidden_layers=sizes["num_layers"],
            num_attention_heads=sizes["num_heads"],
            intermediate_size=sizes["ffn_size"] * 3 // 2,
            vocab_size=sizes["vocab_size"],
            max_position_embeddings=length,
            tie_word_embeddings=True,
            use_cache=False,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        tokens = torch.randint(0, sizes["vocab_size"], (sequences, length), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    pipe.send(sum(parameter.numel() for parameter in model.parameters()))
    while pipe.recv():
        pipe.send(seconds(step))
