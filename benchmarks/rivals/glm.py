"""This project: a model folder of random weights, quantised in one of several ways, opened and used as by anyone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from read import Reading, evict, share_in_large_pages
from shape import RandomValues, Shape, prompt
from torch import Tensor
from worker import Times, resident, serve, timed

from glm130b.config import ModelConfig
from glm130b.files import whole_folder
from glm130b.inference import Context, Reader, Sampling, draw
from glm130b.interop import load_model
from glm130b.model import Scheme, TensorInfo, write_tensors
from glm130b.planning import parameter_shapes
from glm130b.quantization import Quantized

KINDS = {
    "int4-row": Scheme(4, output_bits=4),
    "int4-row-fp16": Scheme(4),
    "int4-g128": Scheme(4, group_size=128, output_bits=4),
    "int4-g128-int8": Scheme(4, group_size=128, output_bits=8),
    "int8-row": Scheme(8, output_bits=8),
}
"""The last part of a name is the output matrix, where it is of another precision than the rest."""
PROMPT = 16
SAMPLINGS = {
    "greedy": Sampling(),
    "top-k 40": Sampling(temperature=0.9, top_k=40),
    "top-p 0.9": Sampling(temperature=0.9, top_p=0.9),
    "unfiltered": Sampling(temperature=0.9),
}


class RandomWeights:
    """A source of a whole model's tensors."""

    def __init__(self, config: ModelConfig) -> None:
        self.infos = {name: TensorInfo(shape, torch.float16) for name, shape in parameter_shapes(config).items()}
        self._values = RandomValues()

    def read(self, name: str) -> Tensor:
        shape = self.infos[name].shape
        if name.endswith("layernorm.weight"):
            return torch.ones(shape, dtype=torch.float16)
        return torch.from_numpy(self._values(name, shape))


def model_folder(shape: Shape, kind: str, folder: Path) -> Path:
    """The model folder, made if it is not there."""
    path = folder / f"glm-{kind}"
    if not path.exists():
        config = ModelConfig(
            num_layers=shape.layers,
            hidden_size=shape.hidden,
            num_heads=shape.heads,
            ffn_size=shape.ffn,
            vocab_size=shape.vocabulary,
            max_sequence_length=shape.length,
        )
        with whole_folder(path) as part:
            source = Quantized(RandomWeights(config), KINDS[kind])
            write_tensors(part, source, config, tokenizer=None, scheme=KINDS[kind])
    return path


class Glm:
    def __init__(self, shape: dict[str, int], kind: str, folder: str, threads: int, verify: bool = False) -> None:
        torch.set_num_threads(threads)
        self.shape = Shape(**shape)
        self.path = model_folder(self.shape, kind, Path(folder))
        self.files = sorted(self.path.resolve().glob("*.safetensors"))
        for file in self.files:
            evict(file)
        self.model = load_model(self.path, verify=verify)
        self.loaded = resident()
        self.reading = Reading(self._read_by_a_token(), Path(folder), ThreadPoolExecutor(threads), threads)
        self.readers: dict[int, Reader] = {}
        self.length: dict[int, int] = {}

    def _read_by_a_token(self) -> list[Tensor]:
        parts = [self.model.layers, self.model.final_layernorm, self.model.output or self.model.word_embeddings]
        return [tensor for part in parts for tensor in part.state_dict().values()]

    def about(self) -> dict[str, object]:
        """Sizes in bytes: of its files, of what a token reads, of memory after loading and now; and in what pages."""
        file = sum(path.stat().st_size for path in self.files)
        sizes = {"file": file, "read": self.reading.num_bytes, "loaded": self.loaded, "now": resident()}
        return sizes | {"in_large_pages": [share_in_large_pages(path) for path in self.files]}

    def read(self, passes: int) -> list[Times]:
        """All weights that a token needs, read from memory and not used."""
        return [timed(self.reading) for _ in range(passes)]

    def decode(self, tokens: int, batch: int = 1) -> list[Times]:
        """Greedily, one token a row after the other."""
        if batch not in self.readers or self.length[batch] + tokens > self.shape.length:
            self.readers[batch] = Reader(self.model, [self._context(PROMPT)] * batch, self.shape.length - PROMPT)
            self.length[batch] = PROMPT
        self.length[batch] += tokens
        return [timed(lambda: self._step(self.readers[batch])) for _ in range(tokens)]

    def prefill(self, tokens: int) -> Times:
        """A new text of so many tokens, to the logits of its last."""
        return timed(lambda: Reader(self.model, [self._context(tokens)], 1))

    def sample(self) -> dict[str, Times]:
        """Of each way of choosing, the time itself and with that of a step; logits are normal, of deviation 3."""
        times = {}
        logits = torch.randn(1, self.shape.vocabulary) * 3
        self.decode(1)
        for name, sampling in SAMPLINGS.items():
            step = timed(lambda: self.readers[1].read([0]))
            draw(logits, torch.rand(1), sampling)
            times[f"{name} draw"] = timed(lambda sampling=sampling: draw(logits, torch.rand(1), sampling))
            times[f"{name} token"] = {key: step[key] + times[f"{name} draw"][key] for key in step}
        self.readers.clear()
        return times

    def _context(self, tokens: int) -> Context:
        ids = prompt(self.shape, tokens)
        return Context(ids, list(range(tokens)), [0] * tokens, blank=tokens - 1, repeats=False)

    @staticmethod
    def _step(reader: Reader) -> None:
        rows = len(reader.logits)
        reader.read(draw(reader.logits, torch.zeros(rows), SAMPLINGS["greedy"]).tolist())


if __name__ == "__main__":
    serve(Glm)
