"""CTranslate2's LLaMA, INT8 weights and activations."""

from __future__ import annotations

import os
import shutil
import time
from itertools import pairwise
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from shape import RandomValues, Shape, prompt
from worker import Times, serve

PROMPT = 16


def write_model(shape: Shape, path: Path) -> None:
    values = RandomValues()
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        shape.layers,
        shape.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
    )

    def fill(linear: common_spec.LinearSpec, name: str, *size: int) -> None:
        linear.weight = values(name, size).astype(np.float32)

    decoder, ones = spec.decoder, np.ones(shape.hidden, np.float32)
    decoder.scale_embeddings = False
    fill(decoder.embeddings, "embeddings", shape.vocabulary, shape.hidden)
    fill(decoder.projection, "output", shape.vocabulary, shape.hidden)
    decoder.layer_norm.gamma = ones
    for number, layer in enumerate(decoder.layer):
        layer.self_attention.layer_norm.gamma = layer.ffn.layer_norm.gamma = ones
        fill(layer.self_attention.linear[0], f"{number} qkv", 3 * shape.hidden, shape.hidden)
        fill(layer.self_attention.linear[1], f"{number} o", shape.hidden, shape.hidden)
        fill(layer.ffn.linear_0, f"{number} gate", shape.ffn, shape.hidden)
        fill(layer.ffn.linear_0_noact, f"{number} up", shape.ffn, shape.hidden)
        fill(layer.ffn.linear_1, f"{number} down", shape.hidden, shape.ffn)
    tokens = ["<unk>", "<s>", "</s>", *(f"t{n}" for n in range(3, shape.vocabulary))]
    spec.register_vocabulary(tokens)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = tokens[:3]
    spec.config.layer_norm_epsilon = 1e-5
    spec.validate()
    spec.optimize(quantization="int8")
    path.mkdir()
    spec.save(str(path))


class CTranslate:
    def __init__(self, shape: dict[str, int], kind: str, folder: str, threads: int) -> None:
        self.shape, self.path = Shape(**shape), Path(folder) / f"ctranslate-{kind}"
        if not self.path.exists():
            part = Path(folder) / "ctranslate.part"
            shutil.rmtree(part, ignore_errors=True)
            write_model(self.shape, part)
            part.rename(self.path)
        self.generator = ctranslate2.Generator(str(self.path), compute_type=kind, intra_threads=threads)
        self.prompt = [f"t{max(token, 3)}" for token in prompt(self.shape, PROMPT)]

    def about(self) -> dict[str, object]:
        """The size of its file, and versions."""
        file = (self.path / "model.bin").stat().st_size
        return {"file": file, "version": ctranslate2.__version__, "isa": os.environ.get("CT2_FORCE_CPU_ISA", "auto")}

    def decode(self, tokens: int) -> list[Times]:
        """Greedily, one token after the other, behind a prompt whose reading does not count."""
        clocks: list[tuple[float, float]] = []

        def note(_: object) -> bool:
            clocks.append((time.perf_counter(), time.process_time()))
            return False

        count = tokens + 1
        self.generator.generate_batch(
            [self.prompt],
            max_length=count,
            min_length=count,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=note,
        )
        return [{"wall": after[0] - before[0], "cpu": after[1] - before[1]} for before, after in pairwise(clocks)]


if __name__ == "__main__":
    serve(CTranslate)
