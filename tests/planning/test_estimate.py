"""FLOPs, time and padding of a step: the paper's own figures, and PyTorch's counter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import TINY, small_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from glm130b.config import Recompute, load_config
from glm130b.model import build_model
from glm130b.planning import Step, Work, bubble_share, hardware_flops, step_seconds, training_flops
from glm130b.planning.flops import stage_flops
from glm130b.planning.memory import stages_of

A100 = 312e12
DIARY_SECONDS = 88.5
RANKS = 768
BASE = small_config("model.num_layers=12").run


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_hardware_flops_equal_the_counter(recompute: Recompute, dropout: float) -> None:
    config = TINY.model_copy(update={"hidden_dropout": dropout})
    tokens = torch.zeros(2, 16, dtype=torch.long)
    model = build_model(config, seed=0)
    model.attention_backend, model.recompute = "sdpa", recompute
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(tokens, tokens, tokens, tokens, dropout_seeds=tokens[:, 0]).sum().backward()
    work = Work.full(2, 16)
    assert counter.get_total_flops() == hardware_flops(config, work, recompute)
    assert training_flops(config, work) == hardware_flops(config, work, "none")


def test_the_diarys_utilisation() -> None:
    step = Step.of(load_config("130b").run, 4224)
    hardware, model = (flops / DIARY_SECONDS / RANKS for flops in (step.hardware_flops, step.model_flops))
    assert f"{hardware / 1e12:.2f} {hardware / A100:.2%} {model / A100:.2%}" == "134.15 43.00% 32.36%"


def test_the_formula_of_the_authors_counter() -> None:
    model = load_config("130b").run.model
    B, S, L, H, V = 4224, 2048, model.num_layers, model.hidden_size, model.vocab_size
    theirs = 96 * B * S * L * H * H * (1 + S / (6 * H) + V / (16 * L * H))
    assert hardware_flops(model, Work.full(B, S), "full") == pytest.approx(theirs, rel=1e-12)


def test_the_diarys_step_follows_from_the_efficiency_of_its_busy_devices() -> None:
    """45.5 % of peak while busy is what bubble and imbalance leave of 43.0 %."""
    assert step_seconds(load_config("130b").run, 4224, A100, 0.455) == pytest.approx(DIARY_SECONDS, rel=1e-3)


@given(
    st.integers(1, 8),
    st.integers(1, 4),
    st.sampled_from(["1f1b", "interleaved", "zero_bubble"]),
    st.integers(1, 300),
    st.integers(1, 5),
)
def test_a_step_takes_what_its_work_padding_and_bubble_take(
    data: int, pipeline: int, schedule: str, batch: int, size: int
) -> None:
    parallel = BASE.parallel.model_copy(update={"data": data, "pipeline": pipeline, "schedule": schedule})
    train = BASE.train.model_copy(update={"micro_batch_size": size})
    config = BASE.model_copy(update={"parallel": parallel, "train": train})
    step = Step.of(config, batch)
    run = data * step.num_micro_batches * size
    assert 0 <= step.padding < 1
    assert run >= batch
    if pipeline > 1:
        assert step.padding == pytest.approx(1 - batch / run)
    # Devices that did nothing but the step's own work would take this share of its time.
    one = Work.full(1, config.data.seq_length)
    by_rank = [
        sum(
            stage_flops(config.model, one, "none", num_layers=len(it.layers), last=it.last)
            for it in stages_of(config, r)
        )
        for r in range(pipeline)
    ]
    balance = sum(by_rank) / pipeline / max(by_rank)
    useful = step.hardware_flops / (data * pipeline) / 1e9
    share = balance * (1 - step.padding) * (1 - bubble_share(config.parallel, step.num_micro_batches))
    assert step_seconds(config, batch, 1e9, 1.0) == pytest.approx(useful / share)
