"""The loop: what it computes, what it records, what it leaves behind."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import small_config

from glm130b.corpus import PreparedCorpus
from glm130b.errors import ConfigError, DataError, ModelError, ResourceError
from glm130b.interop import load
from glm130b.samples import NO_TARGET, sample_number
from glm130b.tokenization import Tokenizer
from glm130b.training import (
    Progress,
    Trainer,
    choose_checkpoint,
    heldout_loss,
    latest_checkpoint,
    losses_of,
    run_lock,
    train,
)
from glm130b.training.loop import Silent
from glm130b.training.metrics import Record, read_metrics

CPU = torch.device("cpu")
OPTIMIZER = "optimizer-00001-of-00001.safetensors"
DROPOUT = ("model.hidden_dropout=0.1", "model.attention_dropout=0.1")


def run(out: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, *overrides: str, **options: Any) -> list[Record]:
    out.mkdir(parents=True, exist_ok=True)
    train(small_config(*overrides), out, tokenizer, corpus, device=CPU, **options)
    return read_metrics(out / "metrics.jsonl")


def slow_loss(trainer: Trainer, size: int, normalisation: str) -> float:
    """The loss of the next step, sequence by sequence, with full logits."""
    sequences = [trainer.stream[trainer.progress.samples + n] for n in range(size)]
    means, total, count = [], 0.0, 0
    with torch.no_grad():
        for s in sequences:
            columns = [torch.from_numpy(getattr(s, n))[None] for n in ("tokens", "position_ids", "sample", "branch")]
            targets = torch.from_numpy(s.targets)
            losses = F.cross_entropy(
                trainer.model(*columns)[0].double(), targets, ignore_index=NO_TARGET, reduction="none"
            )
            means.append(losses.sum().item() / s.num_targets)
            total, count = total + losses.sum().item(), count + s.num_targets
    return total / count if normalisation == "token" else sum(means) / len(means)


@pytest.mark.parametrize("normalisation", ["sequence", "token"])
def test_loss_is_normalised_as_configured(tokenizer: Tokenizer, corpus: PreparedCorpus, normalisation: str) -> None:
    trainer = Trainer(small_config(f"train.loss={normalisation}").run, tokenizer, corpus, CPU)
    for _ in range(2):
        expected = slow_loss(trainer, 4, normalisation)
        assert trainer.step()["loss"] == pytest.approx(expected, rel=1e-6)


def test_accumulation_does_not_change_the_step(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """Micro-batches of 1, 3 and 4 sequences, with dropout: the same gradient and the same update."""
    found = []
    for size in (1, 3, 4):
        config = small_config(
            f"train.micro_batch_size={size}", "model.hidden_dropout=0.1", "model.attention_dropout=0.1"
        ).run
        trainer = Trainer(config, tokenizer, corpus, CPU)
        records = [trainer.step() for _ in range(3)]
        found.append(([r["loss"] for r in records], [r["grad_norm"] for r in records]))
    for losses, norms in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-5)
        assert norms == pytest.approx(found[0][1], rel=1e-4)


def test_embedding_gradient_shrink_acts_on_the_lookup(
    tokenizer: Tokenizer, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """alpha scales the lookup's part of the embedding gradient, and the output's only if asked."""

    def gradient(alpha: float, on_output: bool) -> torch.Tensor:
        shrink = "train.embedding_gradient_shrink"
        overrides = [f"{shrink}.alpha={alpha}", f"{shrink}.on_output={on_output}", "train.optimizer.clip=1e9"]
        trainer = Trainer(small_config(*overrides).run, tokenizer, corpus, CPU)
        found: list[torch.Tensor] = []
        monkeypatch.setattr(
            trainer.gradients, "scale", lambda _: found.append(trainer.model.word_embeddings.weight.grad.clone())
        )
        trainer.step()
        return found[0]

    whole, half, both = gradient(1.0, False), gradient(0.5, False), gradient(0.5, True)
    assert torch.allclose(both, 0.5 * whole, atol=1e-6)
    unread = (whole == 0).all(dim=1) | ((half - whole).abs().amax(dim=1) < 1e-7)
    lookup = 2 * (whole - half)
    assert 0 < (~unread).sum() < 256  # only tokens that were looked up differ
    assert torch.allclose(whole - lookup + 0.5 * lookup, half, atol=1e-6)


@pytest.mark.slow
def test_training_learns(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    records = run(tmp_path, tokenizer, corpus, "train.max_steps=40", "train.learning_rate.peak=0.02")
    assert [record["step"] for record in records] == list(range(1, 41))
    assert records[0]["loss"] == pytest.approx(math.log(16384), abs=0.4)
    assert records[-1]["loss"] < records[0]["loss"] - 1
    assert all(record["samples"] == 4 * record["step"] for record in records)
    assert all(record["embedding_grad_norm"] <= record["grad_norm"] for record in records)


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [[], [*DROPOUT, "train.batch.start=2", "train.batch.ramp=30"]],
)
def test_a_resumed_run_is_the_same_run(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, extra: list[str]
) -> None:
    whole = run(tmp_path / "whole", tokenizer, corpus, "train.max_steps=11", *extra)
    parts: list[Record] = []
    for steps in (4, 5, 9, 11):
        newest = latest_checkpoint(tmp_path / "parts")
        parts = run(tmp_path / "parts", tokenizer, corpus, f"train.max_steps={steps}", *extra, resume=newest)
    keys = ("step", "samples", "loss", "loss_mask", "loss_gmask", "grad_norm", "learning_rate", "batch_size")
    assert [[record[key] for key in keys] for record in parts] == [[record[key] for key in keys] for record in whole]
    first, second = (
        (tmp_path / name / "checkpoints" / "step-00000011" / file).read_bytes()
        for name, file in (("whole", OPTIMIZER), ("parts", OPTIMIZER))
    )
    assert first == second


def test_checkpoints_are_model_folders_and_few(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    run(tmp_path, tokenizer, corpus, "train.max_steps=10", "checkpoint.keep=2")
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000009", "step-00000010"]
    model, loaded = load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert sum(parameter.numel() for parameter in model.parameters()) > 500_000


class InterruptAfter(Silent):
    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, record: Record) -> None:
        if record["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_saves(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    outcome = train(small_config(), tmp_path, tokenizer, corpus, device=CPU, reporter=InterruptAfter(4))
    assert outcome.stopped_by == signal.SIGINT
    assert outcome.progress == Progress(4, 16)
    assert outcome.checkpoint == tmp_path / "checkpoints" / "step-00000004"


def test_a_non_finite_step_is_not_applied(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    trainer = Trainer(small_config().run, tokenizer, corpus, CPU)
    trainer.model.final_layernorm.weight.data[0] = math.nan
    before = trainer.model.layers[0].attention.dense.weight.clone()
    with pytest.raises(ModelError, match="Step 1 gave loss nan"):
        trainer.step()
    assert torch.equal(trainer.model.layers[0].attention.dense.weight, before)


def test_a_changed_run_is_refused(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    run(tmp_path, tokenizer, corpus, "train.max_steps=3")
    newest = latest_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"was trained with seed = 1234"):
        run(tmp_path, tokenizer, corpus, "seed=5", resume=newest)
    with pytest.raises(ConfigError, match=r"was trained with objective.mask_share = 0.3"):
        run(tmp_path, tokenizer, corpus, "objective.mask_share=0.5", resume=newest)
    with pytest.raises(ModelError, match="holds checkpoints up to step-00000003"):
        choose_checkpoint(tmp_path, "none")
    with pytest.raises(ModelError, match="is not a checkpoint"):
        choose_checkpoint(tmp_path, "elsewhere")


def test_the_future_of_the_data_may_change(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    """A phase and a skipped stretch after what was trained on: the run goes on, by the new settings."""
    run(tmp_path, tokenizer, corpus, "train.max_steps=3")
    newest = latest_checkpoint(tmp_path)
    early = "data.phases=[{start: 11, weights: {chinese: 3}}]"
    with pytest.raises(ConfigError, match=r"was trained with data.phases = \[\], the config says otherwise"):
        run(tmp_path, tokenizer, corpus, early, resume=newest)
    later = ("data.phases=[{start: 12, weights: {chinese: 0}}]", "data.skip=[[14, 20]]")
    records = run(tmp_path, tokenizer, corpus, *later, "train.max_steps=5", resume=newest)
    assert [record["samples"] for record in records] == [4, 8, 12, 16, 20]
    trainer = Trainer(small_config(*later).run, tokenizer, corpus, CPU)
    trainer.progress = Progress(3, 12)
    places, sequences, _ = trainer._load(4)
    assert places == [0, 1, 2, 3]
    numbers = [sample_number(12 + place, trainer.config.data.skip) for place in places]
    assert numbers == [12, 13, 20, 21]
    assert {trainer.stream.origin(number).source for number in numbers} == {"english"}
    assert [s.tokens.tolist() for s in sequences] == [trainer.stream[number].tokens.tolist() for number in numbers]


@pytest.mark.parametrize("file", ["optimizer-00001-of-00001.safetensors", "model-00001-of-00001.safetensors"])
def test_a_truncated_checkpoint_is_named(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, file: str
) -> None:
    run(tmp_path, tokenizer, corpus, "train.max_steps=3")
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    (newest / file).write_bytes((newest / file).read_bytes()[:-100])
    with pytest.raises(ModelError, match=f"{file} is .*truncated or damaged"):
        run(tmp_path, tokenizer, corpus, resume=newest)


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("parallel.tensor=2", ConfigError, "1 x 1 x 2 = 2 processes"),
        ("objective.instruction_share=5%", ConfigError, "names no instruction data"),
        ("model.vocab_size=1000", DataError, "tokenizer has 16384 ids, the model.s vocabulary only 1000 rows"),
        ("checkpoint.keep=1T", ResourceError, "GB are free"),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, override: str, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path, tokenizer, corpus, override)
    assert not (tmp_path / "checkpoints").exists()


def test_heldout_loss_is_fixed_and_by_source(tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    trainer = Trainer(small_config("eval.sequences=5").run, tokenizer, corpus, CPU)
    first = trainer.heldout()
    assert set(first) == {"english/mask", "english/gmask", "chinese/mask", "chinese/gmask", "all"}
    other = small_config("eval.sequences=5", "seed=99", "train.micro_batch_size=2").run
    measured = losses_of(trainer.model, 2)
    assert heldout_loss(measured, other, corpus.heldout, tokenizer.special) == pytest.approx(first, rel=1e-6)
    trainer.step()
    assert trainer.heldout() != first


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"), pytest.raises(ResourceError, match="Another process"), run_lock(tmp_path / "run"):
        pass


@pytest.mark.slow
def test_bf16_and_recomputation_run(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    exact = run(tmp_path / "fp32", tokenizer, corpus, "train.max_steps=3")
    again = run(tmp_path / "again", tokenizer, corpus, "train.max_steps=3", "train.recompute=full")
    half = run(tmp_path / "bf16", tokenizer, corpus, "train.max_steps=3", "train.precision=bf16")
    assert [r["loss"] for r in again] == [r["loss"] for r in exact]
    assert [r["loss"] for r in half] == pytest.approx([r["loss"] for r in exact], rel=0.01)
