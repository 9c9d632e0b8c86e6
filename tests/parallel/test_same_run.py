"""One run on any layout: the same losses, gradients and parameters, with real processes over Gloo."""

from __future__ import annotations

import pytest
from runs import Layout, Result, distance, steps

from glm130b.corpus import PreparedCorpus
from glm130b.tokenization import Tokenizer
from glm130b.training import Record

LAYOUTS: list[Layout] = [(2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 1), (1, 2, 2), (2, 1, 2), (2, 2, 2)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tokenizer: Tokenizer, corpus: PreparedCorpus) -> Result:
    """Twenty steps of one process."""
    return steps((1, 1, 1), tokenizer, corpus, count=20)


def same_curve(ours: list[Record], theirs: list[Record], tolerance: float) -> None:
    for name in ("loss", "grad_norm", "embedding_grad_norm", "loss_mask", "loss_gmask"):
        values = [record[name] for record in theirs]
        assert [record[name] for record in ours] == [
            None if value is None else pytest.approx(value, rel=tolerance) for value in values
        ], name


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_twenty_steps(tokenizer: Tokenizer, corpus: PreparedCorpus, alone: Result, layout: Layout) -> None:
    result = steps(layout, tokenizer, corpus, count=20)
    same_curve(result.records, alone.records, 1e-5)
    assert distance(result.gradients, alone.gradients) < 1e-4
    assert distance(result.parameters, alone.parameters) < 1e-4
    assert {record["batch_size"] for record in result.records} == {4, 6, 8}


@pytest.mark.parametrize("schedule", ["interleaved", "zero_bubble"])
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout[0] > 1], ids=str)
def test_schedules(tokenizer: Tokenizer, corpus: PreparedCorpus, alone: Result, layout: Layout, schedule: str) -> None:
    result = steps(layout, tokenizer, corpus, f"parallel.schedule={schedule}", count=3)
    same_curve(result.records, alone.records[:3], 1e-5)
    assert distance(result.gradients, alone.gradients) < 1e-4


@pytest.mark.parametrize(
    ("layout", "overrides"),
    [
        ((1, 2, 1), ["parallel.zero_stage=0"]),
        ((1, 2, 1), ["parallel.zero_stage=2"]),
        ((2, 2, 1), ["parallel.zero_stage=3", "train.recompute=selective"]),
        ((1, 2, 2), ["parallel.zero_stage=0", "parallel.sequence=true"]),
        ((1, 1, 4), ["parallel.sequence=true", "train.recompute=full"]),
        ((2, 2, 2), ["parallel.sequence=true", "parallel.schedule=zero_bubble", "parallel.zero_stage=0"]),
        ((2, 1, 2), ["train.recompute=full", "parallel.schedule=zero_bubble"]),
        ((1, 3, 1), ["train.micro_batch_size=2"]),
        ((2, 3, 1), ["train.micro_batch_size=4"]),
        ((4, 1, 1), ["train.loader.workers=1"]),
    ],
    ids=str,
)
def test_options(
    tokenizer: Tokenizer, corpus: PreparedCorpus, alone: Result, layout: Layout, overrides: list[str]
) -> None:
    """Ways to divide, to recompute and to fill up batches that do not divide change nothing."""
    result = steps(layout, tokenizer, corpus, *overrides, count=3)
    same_curve(result.records, alone.records[:3], 1e-5)
    assert distance(result.gradients, alone.gradients) < 1e-4


def test_loss_by_token(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    one, many = (steps(layout, tokenizer, corpus, "train.loss=token", count=3) for layout in [(1, 1, 1), (2, 2, 1)])
    same_curve(many.records, one.records, 1e-5)
    assert distance(many.gradients, one.gradients) < 1e-4


@pytest.mark.parametrize(("precision", "loss", "gradient"), [("bf16", 2e-3, 3e-2), ("fp16", 3e-4, 5e-3)])
@pytest.mark.parametrize(
    ("layout", "overrides"),
    [
        ((1, 1, 1), []),
        ((1, 2, 1), ["parallel.zero_stage=3"]),
        ((2, 2, 1), ["parallel.schedule=zero_bubble"]),
        ((2, 2, 2), ["parallel.sequence=true", "parallel.schedule=interleaved"]),
    ],
    ids=str,
)
def test_half_precision(
    tokenizer: Tokenizer,
    corpus: PreparedCorpus,
    alone: Result,
    layout: Layout,
    overrides: list[str],
    precision: str,
    loss: float,
    gradient: float,
) -> None:
    """FP32 masters, half-precision passes: near the FP32 run, and nearer to it than another run would be."""
    result = steps(layout, tokenizer, corpus, f"train.precision={precision}", *overrides, count=3)
    for ours, theirs in zip(result.records, alone.records, strict=False):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=loss)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=gradient)
        assert ours["applied"]
        assert ours["loss_scale"] == (65536 if precision == "fp16" else 1)
