"""Hugging Face's LLaMA as it runs without being compiled, its keys and values cached."""

from __future__ import annotations

import torch
from shape import Shape, prompt
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, __version__
from worker import Times, serve, timed

PROMPT = 16


class HuggingFace:
    def __init__(self, shape: dict[str, int], kind: str, threads: int, **_: str) -> None:
        torch.set_num_threads(threads)
        self.shape = Shape(**shape)
        config = LlamaConfig(
            vocab_size=self.shape.vocabulary,
            hidden_size=self.shape.hidden,
            intermediate_size=self.shape.ffn,
            num_hidden_layers=self.shape.layers,
            num_attention_heads=self.shape.heads,
            num_key_value_heads=self.shape.heads,
            max_position_embeddings=self.shape.length,
        )
        torch.set_default_dtype({"FP32": torch.float32, "BF16": torch.bfloat16}[kind])
        self.model = LlamaForCausalLM(config).eval()
        self.prefill(PROMPT)

    def about(self) -> dict[str, object]:
        """The size of its weights, and versions."""
        size = sum(parameter.nbytes for parameter in self.model.parameters())
        return {"file": size, "version": __version__, "torch": torch.__version__}

    def decode(self, tokens: int) -> list[Times]:
        """Greedily, one token after the other."""
        if self.cache.get_seq_length() + tokens > self.shape.length:
            self.prefill(PROMPT)
        return [timed(lambda: self._step([self.token])) for _ in range(tokens)]

    def prefill(self, tokens: int) -> Times:
        """A new text of so many tokens, to the logits of its last."""
        self.cache = DynamicCache()
        return timed(lambda: self._step(prompt(self.shape, tokens)))

    def _step(self, tokens: list[int]) -> None:
        with torch.inference_mode():
            out = self.model(torch.tensor([tokens]), past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.token = int(out.logits[0, -1].argmax())


if __name__ == "__main__":
    serve(HuggingFace)
