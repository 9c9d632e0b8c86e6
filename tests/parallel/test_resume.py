"""One run that changes its layout at every stop, against the same run that never stops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from runs import HARD, Layout
from support import small_config

from glm130b.corpus import PreparedCorpus
from glm130b.interop import load
from glm130b.model import FolderTensors
from glm130b.tokenization import Tokenizer
from glm130b.training import Record, latest_checkpoint, read_metrics, train

JOURNEY: list[tuple[Layout, list[str]]] = [
    ((2, 2, 1), []),
    ((1, 2, 2), ["parallel.sequence=true", "parallel.zero_stage=3"]),
    ((2, 1, 2), ["parallel.schedule=zero_bubble"]),
    ((1, 3, 1), ["parallel.zero_stage=0"]),
    ((1, 1, 1), []),
    ((2, 2, 2), ["parallel.schedule=interleaved"]),
]


def go(run: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, layout: Layout, *overrides: str) -> list[Record]:
    pipeline, data, tensor = layout
    mesh = [f"parallel.pipeline={pipeline}", f"parallel.data={data}", f"parallel.tensor={tensor}"]
    merged = small_config(*HARD, *mesh, *overrides)
    resume = latest_checkpoint(run)

    def job() -> int:
        run.mkdir(parents=True, exist_ok=True)
        return train(merged, run, tokenizer, corpus, device=torch.device("cpu"), resume=resume).progress.step

    steps = run_ranks(pipeline * data * tensor, job)
    assert len(set(steps)) == 1
    return read_metrics(run / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3)])
def test_a_run_goes_on_in_any_layout(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, precision: str, tolerance: float
) -> None:
    """Two steps in each layout: the losses of the uninterrupted run, and a checkpoint anyone can read."""
    common = [f"train.precision={precision}", "train.loss_scale={initial: 65536, window: 3}", "checkpoint.keep=9"]
    expected = go(tmp_path / "alone", tokenizer, corpus, (1, 1, 1), *common, f"train.max_steps={2 * len(JOURNEY)}")
    for number, (layout, overrides) in enumerate(JOURNEY, start=1):
        records = go(
            tmp_path / "moved", tokenizer, corpus, layout, *common, *overrides, f"train.max_steps={2 * number}"
        )
    assert len(records) == 2 * len(JOURNEY)
    for ours, theirs in zip(records, expected, strict=True):
        for name in ("loss", "grad_norm", "embedding_grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance)
        for name in ("step", "samples", "trained", "batch_size", "learning_rate", "alpha", "loss_scale", "applied"):
            assert ours[name] == theirs[name]
    assert records[-1]["loss_scale"] == (2**19 if precision == "fp16" else 1)
    moved, alone = (latest_checkpoint(tmp_path / name) for name in ("moved", "alone"))
    assert moved is not None
    assert alone is not None
    model, _ = load(moved)
    for name, parameter in model.named_parameters():
        other = FolderTensors(alone).read(name)
        assert (parameter - other).norm() <= 0.01 * other.norm().clamp(min=0.01), name
