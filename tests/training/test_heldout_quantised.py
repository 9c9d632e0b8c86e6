"""Held-out losses of models whose output is not their embedding, or whose embedding lies in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import small_config

from glm130b.corpus import PreparedCorpus
from glm130b.inference import Window, window_loss
from glm130b.interop import convert, load_model, write_folder
from glm130b.model import GLM, build_model
from glm130b.quantization import dequantize
from glm130b.samples import NO_TARGET, SampleStream
from glm130b.tokenization import Tokenizer
from glm130b.training import heldout_loss, heldout_losses, losses_of

CONFIG = small_config("eval.sequences=3").run


def slowly(model: GLM, corpus: PreparedCorpus, tokenizer: Tokenizer) -> dict[str, list[float]]:
    """Sequence by sequence, with all logits in FP64, by the matrix that the output is meant to be."""
    output: Any = model.output
    matrix = model.word_embeddings.weight
    if output is not None:
        matrix = dequantize(output.weight, output.weight_scale, output.bits)
    found: dict[str, list[float]] = {}
    for source, shard in corpus.heldout.items():
        objectives: tuple[Any, ...] = ("mask", "gmask")
        for objective in objectives:
            stream = SampleStream(
                CONFIG.data, CONFIG.objective, {source: shard}, tokenizer.special, seed=0, objective=objective
            )
            for n in range(3):
                s = stream[n]
                columns = [
                    torch.from_numpy(getattr(s, c))[None] for c in ("tokens", "position_ids", "sample", "branch")
                ]
                hidden = model.hidden_states(*columns)[0].double()
                targets = torch.from_numpy(s.targets)
                total = F.cross_entropy(hidden @ matrix.double().T, targets, ignore_index=NO_TARGET, reduction="sum")
                found.setdefault(f"{source}/{objective}", []).append(total.item() / s.num_targets)
    return found


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """With an output that is far from what it was before it was quantised to 4 bits."""
    model = build_model(CONFIG.model, seed=1)
    words = model.word_embeddings.weight.data
    words *= 5
    words[:, 0] *= 8
    write_folder(tmp_path / "model", {n: t.half() for n, t in model.state_dict().items()}, CONFIG.model, tokenizer)
    return tmp_path / "model"


@pytest.mark.parametrize("output_bits", [None, 8, 4])
def test_losses_are_those_of_the_quantised_output(
    output_bits: Any, folder: Path, tmp_path: Path, corpus: PreparedCorpus, tokenizer: Tokenizer
) -> None:
    convert(folder, tmp_path / "small", to="folder", bits=8, output_bits=output_bits)
    model = load_model(tmp_path / "small")
    assert model.word_embeddings.weight.dtype == torch.float16
    expected = slowly(model, corpus, tokenizer)
    measured = losses_of(model, 2)
    found = heldout_losses(measured, CONFIG, corpus.heldout, tokenizer.special)
    assert found.keys() == expected.keys()
    for name, losses in found.items():
        assert losses == pytest.approx(expected[name], rel=1e-4)
    means = heldout_loss(measured, CONFIG, corpus.heldout, tokenizer.special)
    assert means["english/mask"] == pytest.approx(sum(expected["english/mask"]) / 3, rel=1e-4)
    if output_bits == 4:
        model.output = None
        for name, losses in heldout_losses(losses_of(model, 2), CONFIG, corpus.heldout, tokenizer.special).items():
            assert losses != pytest.approx(expected[name], rel=5e-4)


@pytest.mark.parametrize("output_bits", [None, 4])
def test_windows_are_scored_by_the_quantised_output(output_bits: Any, folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "small", to="folder", bits=8, output_bits=output_bits)
    model = load_model(tmp_path / "small")
    count = 12
    tokens = torch.arange(7, 7 + count)
    window = Window(tokens.tolist(), list(range(count)), [1] * count, targets=(tokens + 1).tolist(), first_counted=3)
    columns = [tokens[None], torch.arange(count)[None], torch.zeros(1, count).long(), torch.ones(1, count).long()]
    logits = model(*columns)[0, 3:].double()
    expected = F.cross_entropy(logits, tokens[3:] + 1, reduction="sum")
    assert window_loss(model, window) == pytest.approx(expected.item(), rel=1e-4)
